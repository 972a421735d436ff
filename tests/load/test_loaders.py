"""Another library is another loader in the table: what it loads is exported as what timm builds."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mptq_export.api import calibrate, export, verify
from mptq_export.data.preprocessing import Preprocessing
from mptq_export.load.file.checkpoint import read_checkpoint
from mptq_export.load.loaded import LoadedModel, inference_ready
from mptq_export.load.loader import Loader, Source
from mptq_export.load.loaders import LOADERS, load_asked
from mptq_export.load.outputs import LOGITS
from mptq_export.load.request import ModelRequest
from mptq_export.support.errors import MptqError

CHANNELS, CLASSES, SIZE = 16, 5, 16
ARCH = "own_mlp"


class OwnMlp(nn.Module):
    """One block over patches, of torch's modules alone."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, CHANNELS, 4, 4)
        self.norm = nn.LayerNorm(CHANNELS)
        self.mlp = nn.Sequential(nn.Linear(CHANNELS, 32), nn.GELU(), nn.Linear(32, CHANNELS))
        self.last = nn.LayerNorm(CHANNELS)
        self.head = nn.Linear(CHANNELS, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = tokens + self.mlp(self.norm(tokens))
        logits: torch.Tensor = self.head(self.last(tokens).mean(1))
        return logits


def load_own(source: Source) -> LoadedModel:
    model = OwnMlp()
    model.load_state_dict(source.checkpoint.state_dict)
    return LoadedModel(
        model=inference_ready(model),
        arch=ARCH,
        model_kwargs={},
        arch_source="a library of ours",
        preprocessing=Preprocessing((3, SIZE, SIZE), (0.5,) * 3, (0.5,) * 3, "bicubic", 1.0, "center"),
        class_names=source.checkpoint.class_names,
        notes=(),
        asked=source.asked,
    )


OWN = Loader(lambda source: ARCH in source.checkpoint.arches, load_own)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "own.pt"
    torch.save({"arch": ARCH, "state_dict": OwnMlp().state_dict(), "class_names": list("abcde")}, path)
    return path


def test_a_loader_of_another_library_needs_no_more_than_its_line(checkpoint: Path, tmp_path: Path):
    loaded = load_asked(ModelRequest(str(checkpoint)), (OWN, *LOADERS))
    assert (loaded.arch, loaded.class_names, loaded.outputs) == (ARCH, tuple("abcde"), LOGITS)
    images = np.random.default_rng(0).uniform(-1, 1, (8, 3, SIZE, SIZE)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    exported = export(calibrate(loaded, tmp_path / "images.npy"), tmp_path / "own.onnx", method="paper")
    assert exported.verification.passed
    assert verify(tmp_path / "own.onnx").passed


def test_without_it_the_last_loader_says_what_is_wrong(checkpoint: Path):
    with pytest.raises(MptqError, match=f"timm has no architecture '{ARCH}'"):
        load_asked(ModelRequest(str(checkpoint)))


def test_a_library_without_feature_maps_says_so(checkpoint: Path):
    with pytest.raises(MptqError, match=rf"--features: .* {ARCH} \(a library of ours\); export it without --features"):
        load_asked(ModelRequest(str(checkpoint), features=()), (OWN, *LOADERS))


def test_all_names_of_a_checkpoint_are_there_for_whoever_knows_one(tmp_path: Path):
    path = tmp_path / "two.pt"
    torch.save({"arch": "own", "args": {"model": "vit_tiny_patch16_224"}, "state_dict": OwnMlp().state_dict()}, path)
    assert read_checkpoint(path).arches == ("own", "vit_tiny_patch16_224")

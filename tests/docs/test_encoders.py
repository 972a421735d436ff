"""The encoders of the figures: weights of a classifier in the files of each library."""

from pathlib import Path

import pytest
import timm
import torch

from mptq_export import load
from tools.figures.encoders import ENCODERS
from tools.random_weights import seeded

SMALL = {"img_size": 28, "embed_dim": 64, "depth": 2, "num_heads": 1}


def checkpoint(folder: Path) -> Path:
    """A small DINOv2 with a classifier, as the shared one is."""
    kwargs = {**SMALL, "num_classes": 10}
    model = seeded(timm.create_model("vit_small_patch14_dinov2", **kwargs))
    entries = {"arch": "vit_small_patch14_dinov2", "model_kwargs": kwargs, "state_dict": model.state_dict()}
    torch.save(entries, folder / "classifier.pt")
    return folder / "classifier.pt"


def test_an_encoder_is_what_stood_before_the_classifier(tmp_path: Path):
    whole = load(checkpoint(tmp_path))
    images = torch.randn(2, 3, 28, 28)
    encoder = load(ENCODERS[0].write(tmp_path / "classifier.pt", tmp_path))
    assert [output.kind for output in encoder.outputs] == ["embedding"]
    pre_logits = whole.model.forward_head(whole.model.forward_features(images), pre_logits=True)
    assert torch.equal(encoder.model(images), pre_logits)


def test_the_folder_of_transformers_holds_the_same_encoder(tmp_path: Path):
    pytest.importorskip("transformers", reason="the folder is one of transformers")
    source = ENCODERS[1].write(checkpoint(tmp_path), tmp_path)  # raises where it computes something else
    assert {"config.json", "model.safetensors", "preprocessor_config.json"} <= {path.name for path in source.iterdir()}

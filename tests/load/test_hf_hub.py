"""`hf-hub:` names: the folder is fetched, and is then a folder like any other."""

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from timm.models import save_for_hf

from mptq_export.load.doors import check_asked, default_output
from mptq_export.load.loaders import load_model
from mptq_export.load.request import ModelRequest
from mptq_export.support.errors import MptqError
from tests.load.timm.helpers import IMAGES, VIT, WRITES_ARGUMENTS, model_of, refusal

NAME = "hf-hub:someone/model"


@WRITES_ARGUMENTS
@pytest.mark.parametrize("safe", [True, False])
def test_a_model_of_timm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, safe: bool):
    model = model_of("vit_tiny_patch16_224", **VIT, img_size=32, num_classes=7)
    save_for_hf(model, str(tmp_path), safe_serialization=safe)
    asked: list[Any] = []

    def download(name: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((name, revision, *allow_patterns))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    loaded = load_model(f"{NAME}@main")
    assert torch.equal(loaded.model(IMAGES), model(IMAGES))
    assert loaded.asked.name == f"{NAME}@main"
    # Weights that can run code are only asked for where there are no others.
    names = ["model*.safetensors", *([] if safe else ["open_clip_model*.safetensors", "pytorch_model*.bin"])]
    assert asked == [("someone/model", "main", "*.json", name) for name in names]


def test_the_hub_out_of_reach(monkeypatch: pytest.MonkeyPatch):
    def download(*_: Any, **__: Any) -> str:
        raise ConnectionError("no route to host\nand more")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    message = refusal(NAME)
    assert message.startswith(
        f"cannot fetch {NAME} (ConnectionError: no route to host); check the name and the network"
    )


@pytest.mark.parametrize("name", ["hf-hub:", "hf-hub:model", "hf-hub:a/b/c", "hf-hub:../x/y", "hf-hub:a/b@"])
def test_names_that_are_none(name: str):
    with pytest.raises(MptqError, match="is no name of the hub"):
        check_asked(ModelRequest(name))


def test_the_file_is_called_after_the_model(tmp_path: Path):
    assert default_output("hf-hub:timm/vit_tiny_patch16_224.augreg@main").name == (
        "timm_vit_tiny_patch16_224.augreg.mptq.onnx"
    )
    assert default_output(str(tmp_path / "m.pt")) == tmp_path / "m.mptq.onnx"
    (tmp_path / "vit.v2").mkdir()
    assert default_output(str(tmp_path / "vit.v2")) == tmp_path / "vit.v2.mptq.onnx"
    assert default_output(".") == Path.cwd().parent / f"{Path.cwd().name}.mptq.onnx"

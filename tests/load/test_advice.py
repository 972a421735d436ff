"""What a checkpoint probably is that does not fit, and what its owner is told to do."""

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from mptq_export.load.loaders import load_model
from mptq_export.support.errors import MptqError

NAME = "vit_tiny_patch16_224"
KWARGS: dict[str, Any] = {
    "img_size": 32,
    "patch_size": 8,
    "embed_dim": 32,
    "depth": 1,
    "num_heads": 2,
    "num_classes": 3,
}


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    return dict(timm.create_model(NAME, **KWARGS).state_dict())


def refusal(path: Path, **kwargs: Any) -> str:
    with pytest.raises(MptqError) as caught:
        load_model(path, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("prefix", ["model.", "net.", "student.backbone."])
def test_a_prefix_that_something_else_stands_beside(
    tmp_path: Path, tensors: dict[str, Tensor], prefix: str, known: bool
):
    named = {prefix + name: tensor for name, tensor in tensors.items()}
    torch.save({"state_dict": {**named, "decoder.weight": torch.ones(3)}}, tmp_path / "m.pt")
    said = {"arch": NAME, "model_kwargs": KWARGS} if known else {}
    assert f"Its names begin with '{prefix}', but not decoder.weight: save the state dict of that part" in refusal(
        tmp_path / "m.pt", **said
    )


def test_a_wrapper_inside(tmp_path: Path, tensors: dict[str, Tensor]):
    named = {name.replace("blocks.0.", "blocks.0.module."): tensor for name, tensor in tensors.items()}
    torch.save(named, tmp_path / "m.pt")
    assert "hold 'module.'" in refusal(tmp_path / "m.pt", arch=NAME, model_kwargs=KWARGS)


def test_names_of_transformers(tmp_path: Path):
    names = ("vit.embeddings.patch_embeddings.projection.weight", "vit.encoder.layer.0.layernorm_before.weight")
    torch.save({name: torch.ones(2) for name in names}, tmp_path / "pytorch_model.bin")
    for said in ({}, {"arch": NAME}):
        assert "names are those of Hugging Face transformers" in refusal(tmp_path / "pytorch_model.bin", **said)


def test_a_configuration_of_another_library_beside_the_weights(tmp_path: Path, tensors: dict[str, Tensor]):
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, tmp_path / "weights.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["ViTModel"], "model_type": "vit"}))
    loaded = load_model(tmp_path / "weights.safetensors", arch=NAME, model_kwargs=KWARGS)
    assert "config.json beside it is not read" in loaded.warnings[0]
    for other in ("[1]", "{", json.dumps({"name": "my experiment"})):
        (tmp_path / "config.json").write_text(other)
        assert load_model(tmp_path / "weights.safetensors", arch=NAME, model_kwargs=KWARGS).warnings == ()


def test_files_of_pytorch_that_are_no_state_dict(tmp_path: Path, tensors: dict[str, Tensor]):
    module = torch.nn.Linear(2, 2)
    torch.jit.save(torch.jit.trace(module, torch.zeros(1, 2)), tmp_path / "scripted.pt")
    assert "is a TorchScript archive, whose weights cannot be read" in refusal(tmp_path / "scripted.pt")
    torch.export.save(torch.export.export(module, (torch.zeros(1, 2),)), tmp_path / "program.pt2")
    (tmp_path / "program.pt2").rename(tmp_path / "program.pt")
    assert "is a program of torch.export" in refusal(tmp_path / "program.pt")

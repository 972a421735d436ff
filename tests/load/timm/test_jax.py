"""Google's ViT in JAX: the same numbers as timm's own loader of these files puts into its model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from mptq_export.load.loaders import load_model
from tests.load.timm.helpers import IMAGES, VIT, model_of, refusal

NAME = "vit_base_patch16_224"
BUILT: dict[str, Any] = {**VIT, "img_size": 32, "num_classes": 5}


def flax(tensors: dict[str, Tensor], start: str = "", *, big_vision: bool = False) -> dict[str, NDArray[np.float32]]:
    """Tensors of a ViT of two heads as the JAX code stores them."""
    numbers = {"attn": 0, "norm2": 1, "mlp": 0} if big_vision else {"attn": 1, "norm2": 2, "mlp": 3}
    found = {}
    for name, tensor in tensors.items():
        value = tensor.numpy()
        block = f"Transformer/encoderblock_{name.split('.')[1]}/" if name.startswith("blocks.") else ""
        last = name.rpartition(".")[2]
        if ".attn." in name:
            attention = f"{block}MultiHeadDotProductAttention_{numbers['attn']}/"
            if ".qkv." in name:
                for part, each in zip(("query", "key", "value"), np.split(value, 3), strict=True):
                    shaped = each.T.reshape(-1, 2, 16) if last == "weight" else each.reshape(2, 16)
                    found[f"{attention}{part}/{'kernel' if last == 'weight' else 'bias'}"] = shaped
            else:
                found[f"{attention}out/{'kernel' if last == 'weight' else 'bias'}"] = (
                    value.T.reshape(2, 16, -1) if last == "weight" else value
                )
            continue
        dense = last == "weight" and value.ndim == 2
        word = {"weight": "kernel" if value.ndim > 1 else "scale"}.get(last, last)
        renames = {
            "cls_token": "cls",
            "pos_embed": "pos_embedding" if big_vision else "Transformer/posembed_input/pos_embedding",
        }
        first = name.rpartition(".")[0]
        layer = {
            "patch_embed.proj": "embedding",
            "norm": "Transformer/encoder_norm",
            "head": "head",
        }.get(
            first,
            block
            + {
                "norm1": "LayerNorm_0",
                "norm2": f"LayerNorm_{numbers['norm2']}",
                "fc1": f"MlpBlock_{numbers['mlp']}/Dense_0",
                "fc2": f"MlpBlock_{numbers['mlp']}/Dense_1",
            }.get(first.rpartition(".")[2], ""),
        )
        stored = renames.get(name, f"{layer}/{word}")
        found[stored] = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T if dense else value
    return {start + name: np.ascontiguousarray(value) for name, value in found.items()}


@pytest.mark.parametrize(("start", "big_vision"), [("", False), ("opt/target/", False), ("params/", True)])
def test_the_numbers_are_those_of_timms_loader(tmp_path: Path, start: str, big_vision: bool):
    model = model_of(NAME, **BUILT)
    path = tmp_path / "B_16.npz"
    np.savez(path, **flax(model.state_dict(), start, big_vision=big_vision))
    theirs = model_of(NAME, **BUILT)
    for parameter in theirs.parameters():
        parameter.data.zero_()
    theirs.load_pretrained(str(path))  # type: ignore[operator]
    loaded = load_model(path, arch=NAME, model_kwargs=VIT)
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], tensor), name
    assert torch.equal(loaded.model(IMAGES), model(IMAGES))
    assert loaded.model_kwargs == BUILT


def test_the_heads_show(tmp_path: Path):
    path = tmp_path / "B_16.npz"
    np.savez(path, **flax(model_of(NAME, **BUILT).state_dict()))
    message = refusal(path, arch=NAME, model_kwargs={**VIT, "num_heads": 4})
    assert f"has 2 heads in every block, {NAME} 4; pass" in message


def test_a_layer_before_the_head_is_refused(tmp_path: Path):
    path = tmp_path / "B_16.npz"
    more = {"pre_logits/kernel": np.ones((32, 32), np.float32), "pre_logits/bias": np.ones(32, np.float32)}
    np.savez(path, **flax(model_of(NAME, **BUILT).state_dict()), **more)
    assert "pre_logits" in refusal(path, arch=NAME, model_kwargs=VIT)


def test_files_that_are_damaged_or_no_numbers(tmp_path: Path):
    path = tmp_path / "m.npz"
    np.savez(path, a=np.array(["text"]))
    assert "array a is of <U4, no kind of number" in refusal(path)
    np.savez(path, a=np.array([{}], dtype=object))
    assert "cannot be read as .npz" in refusal(path)
    np.savez_compressed(path, a=np.zeros(10**6))
    assert "far more than the file" in refusal(path)
    np.savez(path, a=np.zeros(10**4))
    path.write_bytes(path.read_bytes()[:-200])
    assert "corrupt" in refusal(path)

"""Encoders made of the real checkpoints: their weights without the classifier, in files of the library named."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mptq_export import load
from mptq_export.data.preprocessing import Preprocessing


@dataclass(frozen=True)
class Encoder:
    """An encoder whose weights are those of a classifier.

    Attributes:
        key: name of its files.
        title: its name in the pages: which weights, and by whose code they are read.
        base: key of the model that has the weights.
        write: from that model's checkpoint to what is exported, a file or a folder.
        options: of `mptq-export` besides.
    """

    key: str
    title: str
    base: str
    write: Callable[[Path, Path], Path]
    options: tuple[str, ...] = ()


def _timm(checkpoint: Path, folder: Path) -> Path:
    """The checkpoint without the weights of its classifier."""
    loaded = load(checkpoint)
    state = {name: value for name, value in loaded.model.state_dict().items() if not name.startswith("head.")}
    kwargs = {**loaded.model_kwargs, "num_classes": 0}
    path = folder / "encoder.pt"
    torch.save({"arch": loaded.arch, "model_kwargs": kwargs, "state_dict": state}, path)
    return path


def _transformers(checkpoint: Path, folder: Path) -> Path:
    """The same weights as a folder of transformers' `Dinov2Model`.

    Raises:
        ValueError: that model computes something else.
    """
    import transformers

    loaded = load(_timm(checkpoint, folder))
    size, width = loaded.preprocessing.input_size[-1], loaded.model.get_parameter("cls_token").shape[-1]
    sizes = {"hidden_size": width, "num_attention_heads": width // 64, "image_size": size}
    config = transformers.Dinov2Config(num_hidden_layers=_blocks(loaded.model.state_dict()), **sizes)
    model: Any = transformers.Dinov2Model(config).eval()
    model.load_state_dict(dinov2_names(loaded.model.state_dict()), strict=True)
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        difference = float((model(pixel_values=images).pooler_output - loaded.model(images)).abs().max())
    if difference > 1e-4:
        raise ValueError(f"transformers' Dinov2Model differs from timm's model by {difference:.1e}")
    path = folder / "transformers"
    model.save_pretrained(path)
    _processor(loaded.preprocessing).save_pretrained(path)
    return path


def _processor(preprocessing: Preprocessing) -> Any:
    import transformers

    height, width = preprocessing.input_size[1:]
    return transformers.BitImageProcessor(
        size={"shortest_edge": round(height / preprocessing.crop_pct)},
        crop_size={"height": height, "width": width},
        resample=3,  # bicubic
        image_mean=list(preprocessing.mean),
        image_std=list(preprocessing.std),
    )


def dinov2_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of timm's DINOv2 under the names of transformers' `Dinov2Model`."""
    width = state["cls_token"].shape[-1]
    found = {
        "embeddings.cls_token": state["cls_token"],
        "embeddings.position_embeddings": state["pos_embed"],
        "embeddings.mask_token": torch.zeros(1, width),
        "layernorm.weight": state["norm.weight"],
        "layernorm.bias": state["norm.bias"],
    }
    for part in ("weight", "bias"):
        found[f"embeddings.patch_embeddings.projection.{part}"] = state[f"patch_embed.proj.{part}"]
    for block in range(_blocks(state)):
        ours, theirs = f"blocks.{block}", f"encoder.layer.{block}"
        for scale in (1, 2):
            found[f"{theirs}.layer_scale{scale}.lambda1"] = state[f"{ours}.ls{scale}.gamma"]
        for part in ("weight", "bias"):
            for letter, values in zip("qkv", state[f"{ours}.attn.qkv.{part}"].chunk(3), strict=True):
                found[f"{theirs}.attention.{letter}_proj.{part}"] = values
            found[f"{theirs}.attention.o_proj.{part}"] = state[f"{ours}.attn.proj.{part}"]
            for name in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
                found[f"{theirs}.{name}.{part}"] = state[f"{ours}.{name}.{part}"]
    return found


def _blocks(state: dict[str, Tensor]) -> int:
    return sum(name.endswith("attn.qkv.weight") for name in state)


ENCODERS: tuple[Encoder, ...] = (
    Encoder("dinov2-timm", "DINOv2-small, timm", "vit_small", _timm),
    Encoder(
        "dinov2-transformers",
        "DINOv2-small, transformers (`Dinov2Model`, `pooler_output`)",
        "vit_small",
        _transformers,
        ("--outputs", "pooler_output"),
    ),
    Encoder("deit-timm", "DeiT-tiny without its classifier, timm", "deit_tiny", _timm),
)

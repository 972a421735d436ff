"""Checkpoints whose numbers lie at the edge of what there is."""

from collections.abc import Callable
from typing import Any

import timm
import torch
from tiny_models import KINDS, tiny
from torch import Tensor

State = dict[str, Tensor]
QKV, PROJ, FC1, FC2 = (f"blocks.0.{name}" for name in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"))


def _times(factor: float, *names: str, channel: int | None = None) -> Callable[[State], None]:
    """Multiply tensors, or one output channel of each."""

    def change(state: State) -> None:
        for name in names:
            part = state[name] if channel is None else state[name][..., channel : channel + 1]
            if channel is not None and name.endswith(("fc1.weight", "fc2.weight", "qkv.weight", "proj.weight")):
                part = state[name][channel : channel + 1]
            part.mul_(factor)

    return change


def _constant(value: float, *names: str) -> Callable[[State], None]:
    def change(state: State) -> None:
        for name in names:
            state[name].fill_(value)

    return change


def _everything(factor: float) -> Callable[[State], None]:
    def change(state: State) -> None:
        for tensor in state.values():
            tensor.mul_(factor)

    return change


#: What is done to the weights of a ViT.
CHANGES: dict[str, Callable[[State], None]] = {
    "a dead channel of a layer norm": _times(0, "blocks.0.norm1.weight", "blocks.0.norm1.bias", channel=3),
    "a dead channel of the residual": _times(
        0, "pos_embed", "cls_token", "patch_embed.proj.weight", "patch_embed.proj.bias", channel=5
    ),
    "a dead hidden unit": _times(0, f"{FC1}.weight", f"{FC1}.bias", channel=7),
    "a layer norm that gives a constant": _times(0, "blocks.0.norm1.weight"),
    "a layer norm that gives nothing": _times(0, "blocks.0.norm1.weight", "blocks.0.norm1.bias"),
    "all layer norms that give nothing": _times(
        0, *(f"blocks.{i}.norm{j}.{part}" for i in (0, 1) for j in (1, 2) for part in ("weight", "bias"))
    ),
    "constant hidden units": _times(0, f"{FC1}.weight"),
    "hidden units of zero": _times(0, f"{FC1}.weight", f"{FC1}.bias"),
    "constant queries, keys and values": _times(0, f"{QKV}.weight"),
    "queries, keys and values of zero": _times(0, f"{QKV}.weight", f"{QKV}.bias"),
    "a projection of zero": _times(0, f"{PROJ}.weight", f"{PROJ}.bias"),
    "a second linear of zero": _times(0, f"{FC2}.weight", f"{FC2}.bias"),
    "patches of zero": _times(0, "patch_embed.proj.weight", "patch_embed.proj.bias"),
    "a head of zero": _times(0, "head.weight", "head.bias"),
    "a head of zero with a bias": _times(0, "head.weight"),
    "everything zero": _everything(0),
    "everything one": _constant(1, "pos_embed", "cls_token", f"{QKV}.weight", f"{FC1}.weight", "head.weight"),
    "one weight channel 10,000 times the others": _times(1e4, f"{FC2}.weight", channel=2),
    "one query channel 10,000 times the others": _times(1e4, f"{QKV}.weight", f"{QKV}.bias", channel=2),
    "one layer norm channel 10,000 times the others": _times(1e4, "blocks.0.norm1.weight", channel=2),
    "one hidden unit 10,000 times the others": _times(1e4, f"{FC1}.weight", channel=2),
    "one residual channel 10,000 times the others": _times(1e4, "pos_embed", channel=2),
    "one bias 10,000 times the others": _times(1e4, f"{FC1}.bias", channel=2),
    "one logit 10,000 times the others": _times(1e4, "head.weight", channel=None),
    "weights near the largest float": _times(1e36, "head.weight"),
    "hidden weights near the largest float": _times(1e37, f"{FC1}.weight"),
    "values near the largest float": _times(1e36, f"{QKV}.weight"),
    "a residual near the largest float": _times(1e35, "pos_embed"),
    "weights near the smallest float": _times(1e-37, "head.weight"),
    "hidden weights near the smallest float": _times(1e-37, f"{FC1}.weight", f"{FC1}.bias"),
    "weights below the smallest normal float": _times(1e-42, f"{FC2}.weight"),
    "a residual near the smallest float": _everything(1e-30),
    "scores that are all the same": _times(1e-20, f"{QKV}.weight"),
    "scores that are one or nothing": _times(1e3, f"{QKV}.weight"),
    "biases near the largest float": _constant(1e38, f"{FC1}.bias"),
    "logits that are all bias": _constant(3e38, "head.bias"),
}

_VIT = KINDS["vit"][1]
#: Models with hardly any tokens.
SHORT: dict[str, tuple[str, dict[str, Any]]] = {
    "one token": (
        "vit_tiny_patch16_224",
        {**_VIT, "img_size": 8, "patch_size": 8, "class_token": False, "global_pool": "avg"},
    ),
    "one patch and the class token": ("vit_tiny_patch16_224", {**_VIT, "img_size": 8, "patch_size": 8}),
    "one class": ("vit_tiny_patch16_224", {**_VIT, "num_classes": 1}),
    "one block": ("vit_tiny_patch16_224", {**_VIT, "depth": 1}),
    "one head": ("vit_tiny_patch16_224", {**_VIT, "num_heads": 1}),
    "one channel a head": ("vit_tiny_patch16_224", {**_VIT, "num_heads": 32}),
    "windows of one token": (
        "swin_tiny_patch4_window7_224",
        {**KINDS["swin"][1], "window_size": 1},
    ),
}


def checkpoint(change: Callable[[State], None]) -> dict[str, Any]:
    """A ViT with changed weights, as training scripts save it."""
    arch, kwargs = KINDS["vit"]
    state = {name: tensor.clone() for name, tensor in tiny("vit").state_dict().items()}
    change(state)
    return {"arch": arch, "model_kwargs": kwargs, "state_dict": state}


def short(name: str) -> dict[str, Any]:
    """One of the models with hardly any tokens, with random weights."""
    arch, kwargs = SHORT[name]
    torch.manual_seed(0)
    model = timm.create_model(arch, **kwargs)
    state = {
        key: value + 0.1 * torch.randn_like(value) if value.is_floating_point() else value
        for key, value in model.state_dict().items()
    }
    return {"arch": arch, "model_kwargs": kwargs, "state_dict": state}

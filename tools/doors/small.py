"""Small models that kinds are written from: random weights in which no bias, norm or buffer is trivial."""

from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from tools.doors.kind import Exports
from tools.random_weights import seeded

State = dict[str, Tensor]

ARCH = "vit_tiny_patch16_224"
VIT: dict[str, Any] = {
    "img_size": 32,
    "patch_size": 8,
    "embed_dim": 32,
    "depth": 2,
    "num_heads": 2,
    "num_classes": 7,
}
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGENET: dict[str, Any] = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}
CLASSES = tuple("abcdefg")


def vit(arch: str = ARCH, **changed: Any) -> nn.Module:
    """The ViT of 32 pixels, 16 patches, two blocks and seven classes."""
    model: nn.Module = timm.create_model(arch, **{**VIT, **changed})
    return seeded(model)


def told(arch: str = ARCH, **changed: Any) -> dict[str, Any]:
    """What is said of that ViT where its file says nothing."""
    return {"arch": arch, "model_kwargs": {**VIT, **changed}}


def logits_of(model: nn.Module, given: str, *, name: str = "logits", **door: Any) -> Exports:
    """A source whose original gives one tensor."""
    return Exports(given, lambda x: {name: model(x)}, **door)


def save(content: object, path: Path) -> None:
    """`torch.save`, into a folder that may not be there yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)

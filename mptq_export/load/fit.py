"""What a checkpoint's tensor shapes say about the arguments of its timm model."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import timm
import torch
from torch import nn

from mptq_export.errors import MptqError

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Fit:
    """A model on the meta device, with the arguments that the shapes call for.

    Attributes:
        model: the model without memory.
        model_kwargs: the user's arguments and the inferred ones.
        inferred: the names of the latter.
    """

    model: nn.Module
    model_kwargs: dict[str, Any]
    inferred: tuple[str, ...]


def shapes_of(tensors: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def build_meta(name: str, model_kwargs: Mapping[str, Any]) -> nn.Module:
    """Create a timm model whose tensors have shapes but no memory.

    Raises:
        MptqError: timm refuses the arguments.
    """
    try:
        with torch.device("meta"):
            model: nn.Module = timm.create_model(name, **model_kwargs)
    except Exception as error:
        raise MptqError(
            f"timm cannot build {name} with {dict(model_kwargs)} ({type(error).__name__}: {str(error)[:300]}); "
            "check --arch and --model-kwargs"
        ) from error
    return model


def fit(name: str, shapes: Shapes, model_kwargs: Mapping[str, Any]) -> Fit:
    """Add `num_classes` (from the classifier) and `img_size` (from the position embedding) where they are not given.

    Both are left alone where the checkpoint agrees with the model's default, and where it has no such tensor.

    Args:
        name: a timm name.
        shapes: of the checkpoint's tensors.
        model_kwargs: given arguments, which stand.

    Raises:
        MptqError: timm refuses the arguments.
    """
    model = build_meta(name, model_kwargs)
    found: dict[str, int] = {}
    classes = _classes(model, shapes)
    if "num_classes" not in model_kwargs and classes is not None and classes != getattr(model, "num_classes", None):
        found["num_classes"] = classes
    size = _image_size(model, shapes)
    if "img_size" not in model_kwargs and size is not None:
        found["img_size"] = size
    if not found:
        return Fit(model, dict(model_kwargs), ())
    complete = {**model_kwargs, **found}
    return Fit(build_meta(name, complete), complete, tuple(found))


def _classes(model: nn.Module, shapes: Shapes) -> int | None:
    classifier = getattr(model, "pretrained_cfg", {}).get("classifier") or "head"
    first = classifier if isinstance(classifier, str) else classifier[0]
    shape = shapes.get(f"{first}.weight")
    return shape[0] if shape else None


def _image_size(model: nn.Module, shapes: Shapes) -> int | None:
    """Side of the square image whose patches number the checkpoint's positions, if not the model's own."""
    own, stored = getattr(model, "pos_embed", None), shapes.get("pos_embed")
    embed = getattr(model, "patch_embed", None)
    if own is None or embed is None or stored is None or len(stored) != 3 or stored[1] == own.shape[1]:
        return None
    prefix = own.shape[1] - embed.num_patches
    patches = stored[1] - prefix
    side = math.isqrt(max(patches, 0))
    patch_height, patch_width = embed.patch_size
    if side == 0 or side * side != patches or patch_height != patch_width:
        return None
    return int(side * patch_height)

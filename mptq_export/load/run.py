"""The first stage: a checkpoint, or a name of timm's hub -> a float model with all that is known of it."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mptq_export.load.inputs import input_options
from mptq_export.load.loaded import LoadedModel
from mptq_export.load.loaders import load_asked
from mptq_export.load.request import ModelRequest
from mptq_export.support.errors import MptqWarning


def load(
    model: str | Path,
    *,
    arch: str | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    features: Sequence[int] | None = None,
    outputs: Sequence[str] | None = None,
    trust: bool = False,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    img_size: int | tuple[int, int] | None = None,
    interpolation: str | None = None,
    crop_pct: float | None = None,
    crop_mode: str | None = None,
    in_chans: int | None = None,
) -> LoadedModel:
    """Read a checkpoint, or pretrained weights from timm's hub.

    Args:
        model: path of a `.pt`, `.pth`, `.bin` or `.safetensors` file, or `timm:NAME`.
        arch: timm architecture, where the checkpoint does not name it.
        model_kwargs: arguments for `timm.create_model`; each overrides the checkpoint's.
        features: give these feature maps instead of logits: blocks of a ViT, stages of a Swin; `()` for the deepest of
            every resolution.
        outputs: give only these of the model's outputs, by name, in this order.
        trust: whether the file may run code while it is unpickled.
        mean: of pixels in 0..1, one for each channel or one for all; this and what follows overrules the checkpoint.
        std: standard deviation of the same.
        img_size: height and width of the input, or one number for both.
        interpolation: resampling filter, such as `bicubic`.
        crop_pct: cropped size over resized size.
        crop_mode: `center`, `squash` or `border`.
        in_chans: channels of the input.

    Returns:
        The float model with its architecture, preprocessing and class names. `warnings` holds what must be known before
        it is used; Python's own warnings tell it too.

    Raises:
        MptqError: the checkpoint cannot be read, its architecture cannot be told, or its tensors do not fit.
    """
    inputs = input_options(
        mean=mean,
        std=std,
        img_size=img_size,
        interpolation=interpolation,
        crop_pct=crop_pct,
        crop_mode=crop_mode,
        in_chans=in_chans,
    )
    maps = None if features is None else tuple(features)
    names = None if outputs is None else tuple(outputs)
    loaded = load_asked(ModelRequest(str(model), arch, model_kwargs or {}, trust, inputs, maps, names))
    for sentence in loaded.warnings:
        warnings.warn(sentence, MptqWarning, stacklevel=2)
    return loaded

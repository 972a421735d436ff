"""The first stage: a checkpoint, a name, or a module -> a float model with all that is known of it."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mptq_export.load.inputs import input_options
from mptq_export.load.loaded import LoadedModel
from mptq_export.load.loaders import load_asked
from mptq_export.load.module.given import load_given
from mptq_export.load.request import ModelRequest
from mptq_export.recipe.outputs import OutputKind
from mptq_export.support.errors import MptqError, MptqWarning


def load(
    model: str | Path | nn.Module | torch.export.ExportedProgram,
    *,
    input_size: tuple[int, int, int] | None = None,
    output: OutputKind | Mapping[str, OutputKind] | None = None,
    class_names: Sequence[str] | None = None,
    arch: str | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    features: Sequence[int] | None = None,
    outputs: Sequence[str] | None = None,
    trust: bool = False,
    base: str | Path | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    img_size: int | tuple[int, int] | None = None,
    interpolation: str | None = None,
    crop_pct: float | None = None,
    crop_mode: str | None = None,
    in_chans: int | None = None,
) -> LoadedModel:
    """Take a module, or read a checkpoint, pretrained weights from timm's hub, or what a function of yours makes.

    Args:
        model: a `torch.nn.Module`, of which a copy is taken; a program of `torch.export`; path of a checkpoint or of a
            folder with one; `timm:NAME`; `hf-hub:OWNER/NAME`; or `package.module:name` of a module or of a function
            that returns one, which is imported and called.
        input_size: channels, height and width of the images; of a module of your own, with `mean` and `std`.
        output: of a module of your own the kind of its one output, or kinds by names of outputs: `logits`, `embedding`,
            `map`, `tokens` or `values`. Without it their names and axes decide, and `notes` says how.
        class_names: names of the logits of a module of your own, in order.
        arch: timm architecture, where the checkpoint does not name it.
        model_kwargs: arguments for `timm.create_model`; each overrides the checkpoint's.
        features: give these feature maps instead of logits: blocks of a ViT, stages of a Swin; `()` for the deepest of
            every resolution.
        outputs: give only these of the model's outputs, by name, in this order.
        trust: whether the file may run code while it is unpickled.
        base: where `model` is the folder of an adapter of PEFT: the folder of the model that it changes.
        mean: of pixels in 0..1, one for each channel or one for all; this and what follows overrules the checkpoint.
        std: standard deviation of the same.
        img_size: height and width of the input, or one number for both.
        interpolation: resampling filter, such as `bicubic`.
        crop_pct: cropped size over resized size.
        crop_mode: `center`, `squash`, `border` or `corner`.
        in_chans: channels of the input.

    Returns:
        The float model with its architecture, preprocessing and class names. `warnings` holds what must be known before
        it is used; Python's own warnings tell it too.

    Raises:
        MptqError: the checkpoint cannot be read, its architecture cannot be told, or its tensors do not fit; or nothing
            says what the images of a module are, or it needs more than them, or its outputs cannot be exported.
    """
    if input_size is not None:
        img_size, in_chans = _of_input_size(input_size, img_size, in_chans)
    inputs = input_options(
        mean=mean,
        std=std,
        img_size=img_size,
        interpolation=interpolation,
        crop_pct=crop_pct,
        crop_mode=crop_mode,
        in_chans=in_chans,
    )
    asked = ModelRequest(
        name="" if isinstance(model, nn.Module | torch.export.ExportedProgram) else str(model),
        arch=arch,
        model_kwargs=model_kwargs or {},
        trust=trust,
        inputs=inputs,
        features=None if features is None else tuple(features),
        outputs=None if outputs is None else tuple(outputs),
        kinds=output,
        base=None if base is None else str(base),
    )
    names = None if class_names is None else tuple(map(str, class_names))
    if isinstance(model, nn.Module | torch.export.ExportedProgram):
        loaded = load_given(model, asked, names)
    else:
        if names is not None:
            raise MptqError("class_names belong to a module; a checkpoint's are in it, or in a class map (calibrate)")
        loaded = load_asked(asked)
    for sentence in loaded.warnings:
        warnings.warn(sentence, MptqWarning, stacklevel=2)
    return loaded


def _of_input_size(
    input_size: tuple[int, int, int], img_size: int | tuple[int, int] | None, in_chans: int | None
) -> tuple[tuple[int, int], int]:
    """Height and width, and channels.

    Raises:
        MptqError: it is no such triple, or said twice.
    """
    if img_size is not None or in_chans is not None:
        raise MptqError("input_size says the channels and the size already; leave img_size and in_chans out")
    if len(input_size) != 3 or not all(isinstance(size, int) for size in input_size):
        raise MptqError(f"input_size {input_size} is not (channels, height, width), such as (3, 224, 224)")
    channels, height, width = input_size
    return (height, width), channels

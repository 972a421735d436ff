"""Which models of timm's ViT, DeiT, Swin and Swin V2 families have exactly these tensors.

The shapes decide. Where a model has the same tensors at another image size or number of classes, these are taken from
the checkpoint (see `fit`). Two names count as one when they build the same function and prepare images in the same
way: then it does not matter which is meant. The number of heads, the pooling or mean and std cannot be seen in the
tensors, so that names that differ in them stay apart.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import timm
from torch import nn

from mptq_export.data.preprocessing import Preprocessing
from mptq_export.load.timm.fit import Fit, Hint, Shapes, build_meta, fit, shapes_of
from mptq_export.load.timm.harmless import needed
from mptq_export.load.timm.preprocess import preprocessing_of
from mptq_export.support.errors import MptqError

_FAMILIES = ("vision_transformer", "deit")
_SWINS = ("swin_transformer", "swin_transformer_v2")
_SWIN_BLOCK = re.compile(r"layers\.\d+\.blocks\.\d+\.")
_SWIN_STAGES = 4
_CONVOLUTION = 4
"""Dimensions of its weight."""
_INACTIVE = ("Dropout", "DropPath", "PatchDropout", "Identity")
"""Modules that do nothing in evaluation mode."""
_TRAINING_ONLY = ("weight_init_mode", "fix_init", "grad_checkpointing", "training", "dynamic_img_size")


@dataclass(frozen=True)
class Candidate:
    """A name that fits.

    Attributes:
        name: timm name.
        model_kwargs: arguments with which it fits.
        own_size: whether it fits at its own image size.
        function: what it computes.
        preprocessing: how it prepares images.
        aliases: names that build the same function with the same preprocessing.
    """

    name: str
    model_kwargs: dict[str, Any]
    own_size: bool
    function: tuple[Any, ...]
    preprocessing: Preprocessing
    aliases: tuple[str, ...] = ()


def fitting_models(
    shapes: Shapes,
    model_kwargs: Mapping[str, Any],
    pretrained_cfg: Mapping[str, Any],
    hints: Mapping[str, Hint] | None = None,
    *,
    among: str = "*",
    names: Collection[str] | None = None,
) -> tuple[Candidate, ...]:
    """All models that fit, one for each function and preprocessing.

    Those that fit at their own image size are preferred: others are only listed where there are none.

    Args:
        shapes: of the checkpoint's tensors, also of buffers that the model computes: those of an index of windows, or
            of a mask, tell the sizes of window and image.
        model_kwargs: arguments that are given.
        pretrained_cfg: what is said of the preprocessing, which overrides that of the models.
        hints: what is said of classes, channels and size.
        among: what the names of models look like that are tried.
        names: all names that tell what a tensor is; None: those of the tensors.
    """
    plain = needed(shapes, names or shapes)
    patch = plain.get("patch_embed.proj.weight", ())
    if len(patch) == _CONVOLUTION:
        model_kwargs = {"in_chans": patch[1], **model_kwargs}
    found = [
        candidate_of(name, fitted, pretrained_cfg)
        for name in _plausible_names(plain, model_kwargs, among)
        if (fitted := _fits(name, plain, model_kwargs, hints)) is not None and _has_buffers(fitted.model, shapes)
    ]
    return distinct_models(found)


def likely_models(shapes: Shapes) -> Iterator[tuple[str, Shapes]]:
    """Names of models with this patch embedding and depth, with the shapes of their tensors as far as they can fit.

    Args:
        shapes: of the checkpoint's tensors, without what no model needs.
    """
    for name in _plausible_names(shapes, {}, "*"):
        try:
            model = fit(name, shapes, {}).model
        except MptqError:
            continue
        wanted = shapes_of(model.state_dict())
        yield name, needed(wanted, wanted)


def distinct_models(found: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """One for each function and preprocessing; of those that fit at their own image size, if there are any."""
    preferred = [candidate for candidate in found if candidate.own_size] or found
    distinct: dict[Any, list[Candidate]] = {}
    for candidate in preferred:
        distinct.setdefault((candidate.function, candidate.preprocessing), []).append(candidate)
    return tuple(_merge(same) for same in distinct.values())


def _merge(same: list[Candidate]) -> Candidate:
    first = same[0]
    aliases = tuple(candidate.name for candidate in same[1:])
    return Candidate(
        first.name, first.model_kwargs, first.own_size, first.function, first.preprocessing, aliases=aliases
    )


def candidate_of(name: str, fitted: Fit, pretrained_cfg: Mapping[str, Any]) -> Candidate:
    """What counts of a model that fits."""
    return Candidate(
        name=name,
        model_kwargs=fitted.model_kwargs,
        own_size="img_size" not in fitted.inferred,
        function=function_of(fitted.model),
        preprocessing=preprocessing_of(fitted.model, pretrained_cfg, fitted.model_kwargs),
    )


def _plausible_names(shapes: Shapes, model_kwargs: Mapping[str, Any], among: str) -> Iterator[str]:
    """Names whose patch size, embedding and depth agree; full models are only built for these."""
    patch = shapes.get("patch_embed.proj.weight", ())
    depth = len({name.split(".")[1] for name in shapes if name.startswith("blocks.")})
    swin = any(name.startswith("layers.") for name in shapes)
    if swin:
        depth = len({match[0] for name in shapes if (match := _SWIN_BLOCK.match(name))})
        asked = model_kwargs.get("depths")
        if isinstance(asked, list | tuple) and sum(n for n in asked if isinstance(n, int)) != depth:
            return
    for family in (_SWINS[any(".cpb_mlp." in name for name in shapes)],) if swin else _FAMILIES:
        for name in timm.list_models(among, module=family):
            named_patch = re.search(r"patch(\d+)", name)
            if named_patch and "patch_size" not in model_kwargs and patch and int(named_patch[1]) != patch[-1]:
                continue
            if _swin_agrees(name, model_kwargs, patch) if swin else _skeleton_agrees(name, model_kwargs, patch, depth):
                yield name


def _swin_agrees(name: str, model_kwargs: Mapping[str, Any], patch: tuple[int, ...]) -> bool:
    """Whether the Swin with one block a stage, which builds in a fraction of the time, has this patch embedding."""
    asked = model_kwargs.get("depths")
    stages = len(asked) if isinstance(asked, list | tuple) else _SWIN_STAGES
    try:
        skeleton = build_meta(name, {**model_kwargs, "depths": (1,) * stages})
    except MptqError:
        return False
    return tuple(skeleton.state_dict()["patch_embed.proj.weight"].shape) == patch


def _skeleton_agrees(name: str, model_kwargs: Mapping[str, Any], patch: tuple[int, ...], depth: int) -> bool:
    """Whether the model without the insides of its blocks, which builds in a millisecond, has this width and depth."""
    try:
        skeleton = build_meta(name, {**model_kwargs, "block_fn": _EmptyBlock})
    except MptqError:
        return False
    embed, blocks = getattr(skeleton, "patch_embed", None), getattr(skeleton, "blocks", ())
    projection = getattr(embed, "proj", None)
    return len(blocks) == depth and projection is not None and tuple(projection.weight.shape) == patch


class _EmptyBlock(nn.Module):
    def __init__(self, **_: Any) -> None:
        super().__init__()


def _fits(name: str, shapes: Shapes, model_kwargs: Mapping[str, Any], hints: Mapping[str, Hint] | None) -> Fit | None:
    try:
        fitted = fit(name, shapes, model_kwargs, hints)
    except MptqError:
        return None
    wanted = shapes_of(fitted.model.state_dict())
    return fitted if needed(wanted, wanted) == shapes else None


def _has_buffers(model: nn.Module, stored: Shapes) -> bool:
    """Whether the buffers that the model computes have the shapes of those that are stored."""
    return all(stored.get(name, buffer.shape) == tuple(buffer.shape) for name, buffer in model.named_buffers())


def function_of(model: nn.Module) -> tuple[Any, ...]:
    """What the model computes in evaluation mode, in a form that compares: its active modules with their settings."""
    return tuple(
        (path, type(module).__qualname__, tuple(sorted(_settings(module))))
        for path, module in model.named_modules()
        if type(module).__name__ not in _INACTIVE
    )


def _settings(module: nn.Module) -> Iterator[tuple[str, str]]:
    for key, value in vars(module).items():
        if key.startswith("_") or key in _TRAINING_ONLY or "drop" in key:
            continue
        if value is None or isinstance(value, bool | int | float | str | tuple):
            yield key, repr(value)

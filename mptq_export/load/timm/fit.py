"""What a checkpoint's tensor shapes say about the arguments of its timm model."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import timm
import torch
from torch import nn

from mptq_export.load.timm.unfilled import Unfilled
from mptq_export.support.errors import MptqError

Shapes = Mapping[str, tuple[int, ...]]
#: Where a value comes from that the tensors show, for people.
WEIGHTS = "the weights"


@dataclass(frozen=True)
class Hint:
    """What is said of classes, channels or size; tensors that show otherwise are believed more.

    Attributes:
        value: a number, or (height, width).
        source: who says it, for people.
        stands: the user said it: the tensors have to fit.
    """

    value: Any
    source: str
    stands: bool = False


@dataclass(frozen=True)
class Fit:
    """A model on the meta device, with the arguments that the shapes call for.

    Attributes:
        model: the model without memory.
        model_kwargs: the user's arguments and the inferred ones.
        inferred: the names of those that the tensors showed.
        sources: where `img_size` and `in_chans` come from, for people; not of those that are the architecture's own.
        size: (height, width) of the input where the model's own size is not the input's; None: the model's own.
        conflicts: hints that the tensors contradict, a sentence each.
    """

    model: nn.Module
    model_kwargs: dict[str, Any]
    inferred: tuple[str, ...]
    sources: dict[str, str] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    conflicts: tuple[str, ...] = ()


def shapes_of(tensors: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def build_meta(name: str, model_kwargs: Mapping[str, Any]) -> nn.Module:
    """Create a timm model whose tensors have shapes but no memory.

    Raises:
        MptqError: timm refuses the arguments.
    """
    try:
        with Unfilled(), torch.device("meta"):
            model: nn.Module = timm.create_model(name, **model_kwargs)
    except Exception as error:
        raise MptqError(
            f"timm cannot build {name} with {dict(model_kwargs)} ({type(error).__name__}: {str(error)[:300]}); "
            "check --arch and --model-kwargs"
        ) from error
    return model


def fit(name: str, shapes: Shapes, model_kwargs: Mapping[str, Any], hints: Mapping[str, Hint] | None = None) -> Fit:
    """Add the number of classes, the channels, the image size and the pooling where they are not given.

    They are seen in the classifier, the first convolution, the position embedding and the last norm, and left alone
    where the checkpoint agrees with the model's default. What no tensor shows is taken from the hints. A size that the
    model does not fix is that of the input alone.

    Args:
        name: a timm name.
        shapes: of the checkpoint's tensors.
        model_kwargs: given arguments, which stand.
        hints: what is said of the three.

    Raises:
        MptqError: timm refuses the arguments.
    """
    model, hints = build_meta(name, model_kwargs), hints or {}
    pool = _shown_pool(model, shapes, model_kwargs)
    if pool:
        model_kwargs = {**model_kwargs, **pool}
        model = build_meta(name, model_kwargs)
    config = getattr(model, "pretrained_cfg", {})
    classifier = config.get("classifier") or "head"
    classes = _first_size(classifier, shapes, 0)
    if classes is None and "num_classes" not in model_kwargs and _is_headless(name, classifier, shapes, model_kwargs):
        classes = 0
    shown = {
        "num_classes": classes,
        "img_size": _shown_size(model, shapes, hints.get("img_size")),
        "in_chans": _first_size(config.get("first_conv"), shapes, 1, dims=4),
    }
    own = {
        "num_classes": getattr(model, "num_classes", None),
        "img_size": _own_size(model, config),
        "in_chans": _own_channels(model, config),
    }
    found: dict[str, Any] = {}
    sources: dict[str, str] = {}
    inferred, conflicts = [*pool], []
    size: tuple[int, int] | None = None
    for key, seen in shown.items():
        hint = hints.get(key)
        value: Any
        if key in model_kwargs:
            continue
        value, source = (seen, WEIGHTS) if seen is not None else (None, "")
        if hint is not None and (value is None or hint.stands):
            value, source = hint.value, hint.source
        elif hint is not None and value != hint.value:
            if key == "img_size" and _is_free(model, config):
                size, sources[key] = hint.value, hint.source
            else:
                conflicts.append(
                    f"{key}: {_text(value)} of {WEIGHTS} is taken, not {_text(hint.value)} of {hint.source}"
                )
        if value is None:
            continue
        sources.setdefault(key, source)
        if key == "img_size" and source != WEIGHTS and _is_free(model, config):
            size = value
        elif value != own[key]:
            found[key] = value[0] if isinstance(value, tuple) and value[0] == value[1] else value
            inferred += [key] if source == WEIGHTS else []
    complete = {**model_kwargs, **found}
    built = build_meta(name, complete) if found else model
    return Fit(
        model=built,
        model_kwargs=complete,
        inferred=tuple(inferred),
        sources=sources,
        size=size,
        conflicts=tuple(conflicts),
    )


def _first_size(named: Any, shapes: Shapes, axis: int, dims: int = 0) -> int | None:
    """Size along an axis of the weight that a configuration names; None where the checkpoint has none."""
    first = named if isinstance(named, str) else named[0] if named else ""
    shape = shapes.get(f"{first}.weight", ())
    return shape[axis] if len(shape) > axis and dims in (0, len(shape)) else None


def _is_headless(name: str, classifier: Any, shapes: Shapes, model_kwargs: Mapping[str, Any]) -> bool:
    """Whether the checkpoint has no classifier, nor anything else where the model without one has nothing."""
    named = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    starts = tuple(f"{each.partition('.')[0]}." for each in named)
    if any(each.startswith(tuple(f"{each}." for each in named)) for each in shapes):
        return False
    try:
        without = build_meta(name, {**model_kwargs, "num_classes": 0}).state_dict()
    except MptqError:
        return False
    return all(each in without for each in shapes if each.startswith(starts))


def _shown_pool(model: nn.Module, shapes: Shapes, model_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The mean of the patches, where a norm behind it takes the place of the norm of all tokens."""
    own = model.state_dict()
    pooled = "fc_norm.weight" in shapes and "norm.weight" not in shapes
    other = "norm.weight" in own and "fc_norm.weight" not in own
    return {"global_pool": "avg"} if pooled and other and "global_pool" not in model_kwargs else {}


def _own_channels(model: nn.Module, config: Mapping[str, Any]) -> int | None:
    return _first_size(config.get("first_conv"), shapes_of(model.state_dict()), 1, dims=4)


def _own_size(model: nn.Module, config: Mapping[str, Any]) -> tuple[int, int] | None:
    size = getattr(getattr(model, "patch_embed", None), "img_size", None) or config.get("input_size", ())[-2:]
    return (int(size[0]), int(size[1])) if len(size) == 2 else None


def _is_free(model: nn.Module, config: Mapping[str, Any]) -> bool:
    """Whether the model takes images of any size as it is built."""
    return not config.get("fixed_input_size") or bool(getattr(model, "dynamic_img_size", False))


def _shown_size(model: nn.Module, shapes: Shapes, hint: Hint | None) -> tuple[int, int] | None:
    """Size of the image whose patches number the checkpoint's positions: the hint's, the model's own, or a square."""
    own, stored = getattr(model, "pos_embed", None), shapes.get("pos_embed")
    embed = getattr(model, "patch_embed", None)
    if own is None or embed is None or stored is None or len(stored) != 3:
        return None
    patch, size = getattr(embed, "patch_size", None), getattr(embed, "img_size", None)
    if patch is None or size is None or getattr(embed, "num_patches", None) is None:
        return None
    patches = stored[1] - (own.shape[1] - embed.num_patches)
    if hint is not None and (hint.value[0] // patch[0]) * (hint.value[1] // patch[1]) == patches:
        return hint.value[0], hint.value[1]
    if stored[1] == own.shape[1]:
        return int(size[0]), int(size[1])
    side = math.isqrt(max(patches, 0))
    if side == 0 or side * side != patches or patch[0] != patch[1]:
        return None
    return int(side * patch[0]), int(side * patch[0])


def _text(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)

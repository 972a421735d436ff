"""Tensors of a checkpoint to their places in a model: each has one, or a reason why it needs none."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import timm
from torch import Tensor, nn

from mptq_export.load.file.advice import advice
from mptq_export.load.timm.convert import convert, masked
from mptq_export.load.timm.fit import Shapes, shapes_of
from mptq_export.load.timm.follow_values import Converted
from mptq_export.load.timm.harmless import disagreeing, reason_of, told
from mptq_export.load.timm.near import looks_like
from mptq_export.support.errors import MptqError

_SHOWN = 3


@dataclass(frozen=True)
class Placed:
    """Where the tensors went.

    Attributes:
        tensors: under the model's own names, none missing.
        left_out: those of the checkpoint that the model does not need.
        notes: which these are, and why: a sentence each.
    """

    tensors: dict[str, Tensor]
    left_out: dict[str, Tensor]
    notes: tuple[str, ...]


def place(
    path: Path, tensors: dict[str, Tensor], model: nn.Module, arch: str, names: Collection[str] | None = None
) -> Placed:
    """The tensors under the model's own names.

    Args:
        path: the checkpoint, for messages.
        tensors: its tensors.
        model: which they shall fill; it may be without memory.
        arch: its name, for messages.
        names: all names that tell what a tensor is; None: those of the tensors.

    Raises:
        MptqError: tensors are missing or have another shape, or the checkpoint has some that end up nowhere and might
            matter.
    """
    wanted = shapes_of(model.state_dict())
    names = tensors if names is None else names
    more = tensors.keys() - wanted.keys()
    if wanted.keys() <= tensors.keys() and all(reason_of(name, names) is not None for name in more):
        converted = Converted(masked(tensors))  # timm's own names: a conversion could only misread them
    else:
        converted = convert(tensors, model)
        if converted.computed:
            as_stored = Converted(masked(tensors))
            if _count(as_stored, wanted) <= _count(converted, wanted) + len(converted.computed):
                converted = as_stored
    stored = converted.tensors
    spare = {name: tensor for name, tensor in stored.items() if name not in wanted} | converted.dropped
    left_out = {name: tensor for name, tensor in spare.items() if reason_of(name, names) is not None}
    shapes = shapes_of(stored)
    lost = [] if converted.computed else _lost(converted, left_out)  # what was computed tells it already
    problems = [
        _list("missing", sorted(wanted.keys() - shapes.keys())),
        _list("unexpected", sorted(name for name in stored if name not in wanted and name not in left_out)),
        _list("misshapen", _misshapen(shapes, wanted)),
        _list("dropped by timm's conversion though not zero:", lost),
        _list("not stored but computed by timm's conversion (resampled):", sorted(converted.computed)),
    ]
    if any(problems):
        arches = f"--arch{_like(arch) if lost else ''}"
        one = '{"global_pool": "token"}' if _is_pooled_later(shapes, wanted) else '{"num_classes": 10}'
        raise MptqError(
            f"{path} does not fit {arch}: {'; '.join(filter(None, problems))}. Pass the right {arches}, the --img-size "
            f"and --in-chans of training, or --model-kwargs such as {one}."
            f"{looks_like(shapes_of(tensors), names, arch) or advice(path, tensors, wanted)}"
        )
    kept = {name: tensor for name, tensor in stored.items() if name in wanted}
    return Placed(kept, left_out, (*converted.told_sums(), *told(left_out, names)))


def check_left_out(path: Path, placed: Placed, model: nn.Module, arch: str) -> None:
    """Refuse a model whose own buffers are not those that the checkpoint has and that it does not need.

    Args:
        path: the checkpoint, for the message.
        placed: what was left out.
        model: with its buffers in memory.
        arch: its name.

    Raises:
        MptqError: one differs: the model is of another image or window size.
    """
    other = disagreeing(placed.left_out, model)
    if other:
        own = dict(model.named_buffers())[other[0]]
        raise MptqError(
            f"{path}: {other[0]} {list(placed.left_out[other[0]].shape)} is not what {arch} computes "
            f"({list(own.shape)}), so that the image or the window had another size in training; pass --img-size, or "
            "--model-kwargs with the right window_size"
        )


def _like(arch: str) -> str:
    """Architectures whose names begin alike: one of them may have what another lacks."""
    name = arch.partition(".")[0]
    others = [other for other in timm.list_models(f"{name}*") if other != name]
    return f" (timm also has {', '.join(others[:_SHOWN])})" if others else ""


def _is_pooled_later(stored: Shapes, wanted: Shapes) -> bool:
    """Whether the model has its last norm behind the mean of the patches, and the checkpoint has it before."""
    return "fc_norm.weight" in wanted.keys() - stored.keys() and "norm.weight" in stored.keys() - wanted.keys()


def _lost(converted: Converted, left_out: Mapping[str, Tensor]) -> list[str]:
    parts = [f"{name} ({count} values of it)" for name, count in sorted(converted.cut.items())]
    return [*sorted(converted.dropped.keys() - left_out.keys()), *parts]


def _count(converted: Converted, wanted: Shapes) -> int:
    """How many tensors do not fit."""
    shapes = shapes_of(converted.tensors)
    return len(wanted.keys() ^ shapes.keys()) + len(_misshapen(shapes, wanted))


def _misshapen(stored: Shapes, wanted: Mapping[str, tuple[int, ...]]) -> list[str]:
    return [
        f"{name} {list(stored[name])} instead of {list(shape)}"
        for name, shape in wanted.items()
        if name in stored and stored[name] != shape
    ]


def _list(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{what} {', '.join(names[:_SHOWN])}{more}"

"""Pad: a margin around a tensor."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.arguments import axis_of, integers, optional, required
from kernels_ref.ops.types import Array


def pad(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """X with elements added before and after each axis; negative counts take elements away.

    Args:
        inputs: x; the counts (all before, then all after); the constant (optional, 0); the axes (optional, all).
        attributes: `mode` ("constant", "reflect", "edge" or "wrap").

    Raises:
        InterpreterError: the counts do not fit the axes, or the mode is unknown.
    """
    x, given = required(inputs, 2)
    constant, axes_given = optional(inputs, 2), optional(inputs, 3)
    mode = attributes.get("mode", "constant")
    if mode not in ("constant", "reflect", "edge", "wrap"):
        raise InterpreterError(f"mode {mode} is not supported")
    axes = range(x.ndim) if axes_given is None else [axis_of(axis, x.ndim) for axis in integers(axes_given, "axes")]
    counts = integers(given, "pads")
    if len(counts) != 2 * len(axes):
        raise InterpreterError(f"{len(counts)} counts for {len(axes)} axes; there must be two for each")
    widths, kept = [(0, 0)] * x.ndim, [slice(None)] * x.ndim
    for axis, before, after in zip(axes, counts[: len(axes)], counts[len(axes) :], strict=True):
        widths[axis] = (max(before, 0), max(after, 0))
        kept[axis] = slice(max(-before, 0), x.shape[axis] - max(-after, 0))
    if mode != "constant":
        return (np.pad(x[tuple(kept)], widths, mode=mode),)
    inner = x[tuple(kept)]
    sizes = [size + before + after for size, (before, after) in zip(inner.shape, widths, strict=True)]
    y = np.full(sizes, 0 if constant is None else constant.reshape(()), x.dtype)
    y[tuple(slice(before, before + size) for size, (before, _) in zip(inner.shape, widths, strict=True))] = inner
    return (y,)

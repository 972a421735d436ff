"""Slice: part of a tensor."""

from collections.abc import Mapping, Sequence
from typing import Any

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.arguments import axis_of, integers, optional, required
from kernels_ref.ops.types import Array


def slice_(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """Every `step`-th element from `start` up to `end` (not included) along each axis, as a view.

    Bounds beyond the ends are cut.

    Args:
        inputs: x; starts; ends; axes (optional, the first ones); steps (optional, 1).
        attributes: none.

    Raises:
        InterpreterError: the lists have different lengths, a step is 0, or an axis is named twice.
    """
    x, starts, ends = required(inputs, 3)
    first, last = integers(starts, "starts"), integers(ends, "ends")
    axes_given, steps_given = optional(inputs, 3), optional(inputs, 4)
    listed = list(range(len(first))) if axes_given is None else integers(axes_given, "axes")
    axes = [axis_of(axis, x.ndim) for axis in listed]
    steps = [1] * len(first) if steps_given is None else integers(steps_given, "steps")
    if not len(first) == len(last) == len(axes) == len(steps) == len(set(axes)) or 0 in steps:
        raise InterpreterError(f"starts {first}, ends {last}, axes {axes} and steps {steps} do not fit together")
    index = [slice(None)] * x.ndim
    for start, end, axis, step in zip(first, last, axes, steps, strict=True):
        index[axis] = _along(x.shape[axis], start, end, step)
    return (x[tuple(index)],)


def _along(length: int, start: int, end: int, step: int) -> slice:
    low, high = (0, length) if step > 0 else (-1, length - 1)
    start = min(max(start + length if start < 0 else start, low, 0), high)
    end = min(max(end + length if end < 0 else end, low), high)
    # Python reads an end of -1 as the last element; ONNX means the place before the first.
    return slice(start, None if end < 0 else end, step)

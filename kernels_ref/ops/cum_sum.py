"""CumSum: sums of all elements up to each one, along an axis."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.arguments import axis_of, integers, required
from kernels_ref.ops.types import Array


def cum_sum(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """The sum of an element and all before it, in the type of x; integers wrap around.

    Args:
        inputs: x, numbers; the axis (one integer).
        attributes: `exclusive` (0: an element counts in its own sum), `reverse` (0: from the beginning).

    Raises:
        InterpreterError: an input is missing, x holds no numbers, or the axis does not exist.
    """
    x, given = required(inputs, 2)
    axes = integers(given, "the axis")
    if len(axes) != 1 or x.dtype.kind not in "iuf":
        raise InterpreterError(f"{len(axes)} axes and values of {x.dtype}; there must be one axis, of numbers")
    axis = axis_of(axes[0], x.ndim)
    ordered = np.flip(x, axis) if attributes.get("reverse", 0) else x
    total = np.cumsum(ordered, axis=axis, dtype=x.dtype)
    if attributes.get("exclusive", 0):
        total = np.roll(total, 1, axis)
        total[(slice(None),) * axis + (slice(0, 1),)] = 0
    return (np.flip(total, axis) if attributes.get("reverse", 0) else total,)

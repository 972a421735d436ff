"""Unsqueeze: more axes of size 1."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.arguments import axis_of, integers, required
from kernels_ref.ops.types import Array


def unsqueeze(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """X with new axes of size 1, at the given places of the result.

    Args:
        inputs: x; the axes.
        attributes: none.

    Raises:
        InterpreterError: an axis lies beyond the result, or is named twice.
    """
    x, given = required(inputs, 2)
    listed = integers(given, "axes")
    axes = {axis_of(axis, x.ndim + len(listed)) for axis in listed}
    if len(axes) < len(listed):
        raise InterpreterError(f"axes {listed} name one axis twice")
    return (np.expand_dims(x, tuple(sorted(axes))),)

"""Squeeze: fewer axes of size 1."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.ops.arguments import axis_of, integers, optional, required
from kernels_ref.ops.types import Array


def squeeze(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """X without the given axes; without all axes of size 1 when none are given.

    Args:
        inputs: x; the axes (optional).
        attributes: none.

    Raises:
        InterpreterError: an axis does not exist, or its size is not 1.
    """
    (x,) = required(inputs, 1)
    given = optional(inputs, 1)
    axes = None if given is None else tuple(axis_of(axis, x.ndim) for axis in integers(given, "axes"))
    return (np.squeeze(x, axis=axes),)

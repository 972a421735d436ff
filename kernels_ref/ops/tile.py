"""Tile: a tensor repeated."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.arguments import integers, required
from kernels_ref.ops.types import Array


def tile(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """x, repeated along each axis.

    Args:
        inputs: x; how often along each axis.
        attributes: none.

    Raises:
        InterpreterError: there is not one count for each axis.
    """
    x, given = required(inputs, 2)
    repeats = integers(given, "repeats")
    if len(repeats) != x.ndim:
        raise InterpreterError(f"{len(repeats)} counts for {x.ndim} axes")
    return (np.tile(x, repeats),)

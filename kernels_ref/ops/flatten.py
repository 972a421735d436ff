"""Flatten: a matrix."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.arguments import required
from kernels_ref.ops.types import Array


def flatten(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """X with the axes before `axis` as rows and the others as columns.

    Args:
        inputs: x.
        attributes: `axis` (1).

    Raises:
        InterpreterError: there is no such axis.
    """
    (x,) = required(inputs, 1)
    axis = attributes.get("axis", 1)
    if not -x.ndim <= axis <= x.ndim:
        raise InterpreterError(f"axis {axis} does not exist among {x.ndim}")
    rows = math.prod(x.shape[: axis if axis >= 0 else axis + x.ndim])
    return (x.reshape(rows, x.size // rows if rows else math.prod(x.shape[axis:])),)

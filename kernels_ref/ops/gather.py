"""Gather: elements by their index."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.arguments import axis_of, required
from kernels_ref.ops.types import Array


def gather(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """Elements of x along an axis; negative indices count from the end.

    Args:
        inputs: x; indices (int32 or int64).
        attributes: `axis` (0).

    Raises:
        InterpreterError: an index or the axis does not exist.
    """
    x, indices = required(inputs, 2)
    if indices.dtype.kind not in "iu":
        raise InterpreterError(f"the indices are {indices.dtype}; they must be integers")
    return (np.asarray(np.take(x, indices, axis=axis_of(attributes.get("axis", 0), x.ndim))),)

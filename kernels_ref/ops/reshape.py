"""Reshape: other axes over the same elements."""

from collections.abc import Mapping, Sequence
from typing import Any

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.arguments import integers, required
from kernels_ref.ops.types import Array


def reshape(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """X in a new shape; -1 stands for what is left over, 0 for the size that x has there (unless `allowzero`).

    Args:
        inputs: x; the shape (integers).
        attributes: `allowzero` (0).

    Raises:
        InterpreterError: the shape does not hold as many elements as x.
    """
    x, given = required(inputs, 2)
    sizes = integers(given, "shape")
    if not attributes.get("allowzero", 0):
        if any(size == 0 and index >= x.ndim for index, size in enumerate(sizes)):
            raise InterpreterError(f"shape {sizes} copies a size that {x.shape} does not have")
        sizes = [size or x.shape[index] for index, size in enumerate(sizes)]
    return (x.reshape(sizes),)

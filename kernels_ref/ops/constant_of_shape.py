"""ConstantOfShape: one value everywhere."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.arguments import integers, required
from kernels_ref.ops.types import Array


def constant_of_shape(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """A tensor of the given shape, filled with one value.

    Args:
        inputs: the shape (integers).
        attributes: `value` (one element; float32 0).

    Raises:
        InterpreterError: the value has not one element, or a size is negative.
    """
    (shape,) = required(inputs, 1)
    value = attributes.get("value", np.zeros(1, np.float32))
    if value.size != 1:
        raise InterpreterError(f"the value has {value.size} elements; it must have one")
    return (np.full(integers(shape, "shape"), value.reshape(()), value.dtype),)

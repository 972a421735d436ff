"""Div: the quotient of two tensors."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.arguments import same_type
from kernels_ref.ops.types import Array


def div(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """`A / B` in their own type: the IEEE quotient of floats; integers are divided towards 0.

    Args:
        inputs: A and B, of one number type; they broadcast.
        attributes: none.

    Raises:
        InterpreterError: an input is missing, the types differ, or an integer is divided by 0.
    """
    a, b = same_type(inputs, 2)
    if a.dtype.kind == "f":
        return (np.asarray(a / b),)
    if not b.all():
        raise InterpreterError("an integer is divided by 0")
    down = a // b
    # NumPy rounds down: one too low where the signs differ and the division leaves a rest.
    return (np.asarray(down + ((a % b != 0) & ((a < 0) != (b < 0)))).astype(a.dtype),)

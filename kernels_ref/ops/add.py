"""Add: the sum of two tensors."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.ops.arguments import same_type
from kernels_ref.ops.types import Array


def add(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """`A + B` in their own type; integers wrap around.

    Args:
        inputs: A and B, of one number type; they broadcast.
        attributes: none.

    Raises:
        InterpreterError: an input is missing, or the types differ.
    """
    a, b = same_type(inputs, 2)
    return (np.asarray(a + b),)

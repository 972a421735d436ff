"""BitwiseAnd: and of the bits of two integer tensors."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.ops.arguments import same_type
from kernels_ref.ops.types import Array


def bitwise_and(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """`A & B`, bit by bit.

    Args:
        inputs: A and B, of one integer type; they broadcast.
        attributes: none.

    Raises:
        InterpreterError: an input is missing, or not an integer.
    """
    a, b = same_type(inputs, 2, kinds="iu")
    return (np.asarray(a & b),)

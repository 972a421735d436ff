"""Reciprocal: one over each element."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.ops.arguments import same_type
from kernels_ref.ops.types import Array


def reciprocal(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """`1 / x`, the IEEE quotient.

    Args:
        inputs: a float tensor.
        attributes: none.

    Raises:
        InterpreterError: the input is missing, or not of such a type.
    """
    (x,) = same_type(inputs, 1, kinds="f")
    return (np.asarray(np.reciprocal(x)),)

"""Abs: the magnitude."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.ops.arguments import same_type
from kernels_ref.ops.types import Array


def abs_(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """`|x|`; the least integer of a type stays as it is.

    Args:
        inputs: a number tensor.
        attributes: none.

    Raises:
        InterpreterError: the input is missing, or not of such a type.
    """
    (x,) = same_type(inputs, 1, kinds="fiu")
    return (np.asarray(np.abs(x)),)

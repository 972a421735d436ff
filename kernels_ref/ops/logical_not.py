"""Not: where it is false."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.ops.arguments import same_type
from kernels_ref.ops.types import Array


def logical_not(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """`not x`.

    Args:
        inputs: a tensor of type bool.
        attributes: none.

    Raises:
        InterpreterError: the input is missing, or not bool.
    """
    (x,) = same_type(inputs, 1, kinds="b")
    return (np.asarray(np.logical_not(x)),)

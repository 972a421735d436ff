"""Clip: limits."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.arguments import optional, required
from kernels_ref.ops.types import Array


def clip(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """`min(max(x, low), high)`: high wins where the limits are the wrong way around.

    Args:
        inputs: x, low and high (optional, one element each, the type of x).
        attributes: none.

    Raises:
        InterpreterError: x is missing, or a limit has another type or more than one element.
    """
    (x,) = required(inputs, 1)
    for limit, pick in ((optional(inputs, 1), np.maximum), (optional(inputs, 2), np.minimum)):
        if limit is None:
            continue
        if limit.size != 1 or limit.dtype != x.dtype:
            raise InterpreterError(f"a limit must be one {x.dtype}; it is {limit.dtype} of shape {limit.shape}")
        x = pick(x, limit.reshape(()))
    return (np.asarray(x),)

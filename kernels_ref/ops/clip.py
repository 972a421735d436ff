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
    limits = [optional(inputs, index) for index in (1, 2)]
    for limit in limits:
        if limit is not None and (limit.size != 1 or limit.dtype != x.dtype):
            raise InterpreterError(f"a limit must be one {x.dtype}; it is {limit.dtype} of shape {limit.shape}")
    low, high = (None if limit is None else limit.reshape(()) for limit in limits)
    # Much faster than NumPy's maximum and minimum, and high wins here too.
    return (x if low is None and high is None else np.asarray(x.clip(low, high)),)

"""Clip: limits."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.arguments import optional, required
from kernels_ref.ops.types import Array


def clip(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """`min(max(x, low), high)`: high wins where the limits are the wrong way around.

    A zero at a limit of zero keeps its sign, as measured with onnxruntime 1.32 on x86.

    Args:
        inputs: x, low and high (optional, one element each, the type of x).
        attributes: none.

    Raises:
        InterpreterError: x is missing, or a limit has another type or more than one element.
    """
    (x,) = required(inputs, 1)
    low, high = optional(inputs, 1), optional(inputs, 2)
    for limit in (low, high):
        if limit is not None and (limit.size != 1 or limit.dtype != x.dtype):
            raise InterpreterError(f"a limit must be one {x.dtype}; it is {limit.dtype} of shape {limit.shape}")
    if low is None and high is None:
        return (x,)
    # Much faster than NumPy's maximum and minimum; here too, high wins.
    y = np.clip(x, low if low is None else low.reshape(()), high if high is None else high.reshape(()))
    if x.dtype.kind == "f" and any(limit is not None and limit == 0 for limit in (low, high)):
        y = np.where((x == 0) & (y == 0), x, y)
    return (np.asarray(y),)

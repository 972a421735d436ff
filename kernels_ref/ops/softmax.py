"""Softmax: exponentials that sum to 1."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.arguments import axis_of, required
from kernels_ref.ops.types import Array


def softmax(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """`e ^ (x - max) / sum` along an axis, in float64 and rounded once.

    A runtime's float32 sum and exponential differ in the last bits: no claim of equal bits is made here.

    Args:
        inputs: a float tensor.
        attributes: `axis` (-1); `of_matrix` (false), for opsets below 13: over all axes from `axis` on.

    Raises:
        InterpreterError: there is no such axis, or x is not a float tensor.
    """
    (x,) = required(inputs, 1)
    if x.dtype.kind != "f":
        raise InterpreterError(f"x is {x.dtype}; it must be a float tensor")
    axis = axis_of(attributes.get("axis", -1), x.ndim)
    wide = x.astype(np.float64)
    if attributes.get("of_matrix", False):
        wide, axis = wide.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:])), 1
    powers = np.exp(wide - wide.max(axis=axis, keepdims=True))
    return (np.asarray((powers / powers.sum(axis=axis, keepdims=True)).astype(x.dtype).reshape(x.shape)),)

"""Range: evenly spaced numbers."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.arguments import same_type
from kernels_ref.ops.types import Array


def range_(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """`start + i * delta` for every i from 0 that stays before the limit.

    Args:
        inputs: start, limit and delta, one element each, of one number type.
        attributes: none.

    Raises:
        InterpreterError: an input is missing, the types differ, or delta is 0.
    """
    start, limit, delta = (value.reshape(()) for value in same_type(inputs, 3))
    if delta == 0:
        raise InterpreterError("delta is 0")
    count = max(math.ceil((float(limit) - float(start)) / float(delta)), 0)
    return (np.asarray(start + np.arange(count).astype(start.dtype) * delta, start.dtype),)

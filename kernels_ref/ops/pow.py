"""Pow: powers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.ops.arguments import required
from kernels_ref.ops.types import Array


def pow_(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """`X ^ Y` in the type of X; computed in float64 and rounded once where X is a float.

    A runtime multiplies for small integer powers: a square has the same bits, a cube may be an ulp away.

    Args:
        inputs: X and Y, number tensors that broadcast; their types may differ.
        attributes: none.

    Raises:
        InterpreterError: an input is missing.
    """
    x, y = required(inputs, 2)
    if x.dtype.kind != "f" and y.dtype.kind != "f":
        return (np.asarray(np.power(x.astype(np.int64), y.astype(np.int64)).astype(x.dtype)),)
    return (np.asarray(np.power(x.astype(np.float64), y.astype(np.float64)).astype(x.dtype)),)

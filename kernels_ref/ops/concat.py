"""Concat: tensors one after the other."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.arguments import axis_of, same_type
from kernels_ref.ops.types import Array


def concat(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """The inputs, joined along an axis.

    Args:
        inputs: one tensor or more, of one type, of the same sizes but along the axis.
        attributes: `axis`.

    Raises:
        InterpreterError: the types or sizes differ, or there is no such axis.
    """
    arrays = same_type(inputs)
    if "axis" not in attributes:
        raise InterpreterError("the attribute axis is missing")
    return (np.concatenate(arrays, axis=axis_of(attributes["axis"], arrays[0].ndim)),)

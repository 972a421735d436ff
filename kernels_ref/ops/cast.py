"""Cast: another type."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import onnx

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.arguments import required
from kernels_ref.ops.float8 import is_small_float, to_small_float
from kernels_ref.ops.types import Array


def cast(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """The elements in the type `to`: floats towards 0, integers modulo their new width, and true where not 0 for bool.

    To integers of 4 bits and fewer floats are rounded, halves to even. What a float outside of the new integer type
    gives is left open by ONNX.

    Args:
        inputs: a tensor.
        attributes: `to` (an ONNX type); for floats of 8 bits `saturate` (1) and `round_mode` ("up").

    Raises:
        InterpreterError: the type is missing or not a number type.
    """
    (x,) = required(inputs, 1)
    dtype = _type(attributes.get("to", 0))
    if x.dtype.kind in "OSU" or dtype.kind in "OSU":
        raise InterpreterError("strings are not supported")
    if x.dtype == dtype:
        return (x,)
    if x.dtype.isbuiltin == dtype.isbuiltin == 2 and {x.dtype.name, dtype.name} == {"int4", "uint4"}:
        x = x.astype(np.int8)  # the 4-bit types know no cast to each other
    if dtype.kind == "V" and "int" in dtype.name and "float" in x.dtype.name:
        x = np.rint(x)
    if is_small_float(dtype):
        wide = x if "float" in x.dtype.name and not is_small_float(x.dtype) else x.astype(np.float32)
        saturate, rounding = bool(attributes.get("saturate", 1)), attributes.get("round_mode", "up")
        return (to_small_float(wide, dtype, saturate=saturate, rounding=rounding),)
    return (np.asarray(x.astype(dtype)),)


@cache
def _type(to: int) -> np.dtype[Any]:
    try:
        return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(to))
    except (KeyError, TypeError, ValueError) as error:
        raise InterpreterError(f"there is no type {to}") from error

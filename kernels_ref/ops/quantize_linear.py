"""QuantizeLinear: numbers to codes."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import onnx

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.float8 import is_small_float, to_small_float
from kernels_ref.ops.per_axis import along_axis
from kernels_ref.ops.types import Array

# NumPy's iinfo does not know the small types that onnx brings.
_FEW_BITS = {"int2": (-2, 1), "int4": (-8, 7), "uint2": (0, 3), "uint4": (0, 15)}

_ROUNDER = np.float32(1.5 * 2**23)


@cache
def code_range(dtype: np.dtype[Any]) -> tuple[int, int]:
    """Least and greatest code of an integer type.

    Raises:
        InterpreterError: the type is not an integer type.
    """
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return int(limits.min), int(limits.max)
    if dtype.name in _FEW_BITS:
        return _FEW_BITS[dtype.name]
    raise InterpreterError(f"codes of type {dtype} are not supported")


def quantize_linear(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """`saturate(rint(x / scale) + zero_point)`, halves to even; the quotient has the type of the scale.

    To floats of 8 bits or fewer: `saturate(x / scale + zero_point)`, rounded to the type.

    Args:
        inputs: x, scale (a float, one or one for each index of `axis`), zero point (optional; its type is the type of
            the codes, uint8 when left out).
        attributes: `axis` (1), `block_size` (0: no blocks), `output_dtype` (only without a zero point), `precision`
            (0: that of the scale), `saturate` (1; to floats of 8 bits).

    Raises:
        InterpreterError: an input is missing, or a type is not supported.
    """
    x, scale = inputs[0], inputs[1]
    zero = inputs[2] if len(inputs) > 2 else None
    if x is None or scale is None or "float" not in scale.dtype.name or x.dtype.kind in "OSUb":
        raise InterpreterError("numbers x and a float scale are required")
    axis, block, dtype = attributes.get("axis", 1), attributes.get("block_size", 0), _type_of_codes(zero, attributes)
    scale = along_axis(scale, x, axis, block)
    precision = _type(attributes.get("precision", 0)) or scale.dtype
    unscaled = scale.size == 1 and scale == 1
    y = x
    if not unscaled or x.dtype != np.float32:
        quotient = x.astype(precision, copy=False) / scale.astype(precision, copy=False)
        y = np.asarray(quotient.astype(np.float32, copy=False))
    offset = None if zero is None else along_axis(zero.astype(np.float32), x, axis, block)
    if is_small_float(dtype):
        y = y if offset is None else y + offset
        return (to_small_float(y, dtype, saturate=bool(attributes.get("saturate", 1))),)
    if zero is None or zero.size == 1:
        return (to_codes(y, np.zeros((), dtype) if zero is None else zero.reshape(()), in_place=y is not x),)
    low, high = code_range(dtype)
    # float32 holds every code of up to 16 bits, and what it cannot hold lies far outside of them.
    return (np.asarray((np.rint(y) + offset).clip(low, high).astype(dtype)),)


def _type_of_codes(zero: Array | None, attributes: Mapping[str, Any]) -> np.dtype[Any]:
    dtype = zero.dtype if zero is not None else _type(attributes.get("output_dtype", 0)) or np.dtype(np.uint8)
    if not is_small_float(dtype):
        code_range(dtype)
    return dtype


@cache
def _type(number: int) -> np.dtype[Any] | None:
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(number)) if number else None


def to_codes(x: Array, zero: Array, *, in_place: bool = False) -> Array:
    """`saturate(rint(x) + zero)`, halves to even.

    Args:
        x: float32.
        zero: one element; its type is that of the codes.
        in_place: whether the memory of x may be overwritten.
    """
    low, high = code_range(zero.dtype)
    # The limits are whole numbers, so that limiting before rounding is the same as after it.
    y = x.clip(low - int(zero), high - int(zero), out=x if in_place and x.ndim else None)
    if zero.dtype.itemsize > 1 or zero.dtype.isbuiltin != 1:
        return np.asarray((np.rint(y) + zero.astype(np.float32)).astype(zero.dtype))
    # Floats from 2^23 to 2^24 are 1 apart: the sum is rounded to a whole number, halves to even, and its last bits are
    # those of the number. The zero point is added to the last 8, modulo 256.
    y += _ROUNDER
    codes = y.view(np.int32).astype(zero.dtype)
    if zero:
        codes += zero
    return np.asarray(codes)

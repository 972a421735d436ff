"""QuantizeLinear: float32 to codes."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import onnx

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.per_axis import along_axis
from kernels_ref.ops.types import Array

# NumPy's iinfo does not know the 4-bit types that onnx brings.
_FOUR_BITS = {"int4": (-8, 7), "uint4": (0, 15)}

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
    if dtype.name in _FOUR_BITS:
        return _FOUR_BITS[dtype.name]
    raise InterpreterError(f"codes of type {dtype} are not supported")


def quantize_linear(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """`saturate(rint(x / scale) + zero_point)`, every step float32, halves to even.

    Args:
        inputs: x (float32), scale (float32, one or one for each index of `axis`), zero point (optional; its type is the
            type of the codes, uint8 when left out).
        attributes: `axis` (1), `output_dtype` (only without a zero point).

    Raises:
        InterpreterError: x or scale is not float32, or the quantization is blocked.
    """
    x, scale = inputs[0], inputs[1]
    zero = inputs[2] if len(inputs) > 2 else None
    if x is None or scale is None or x.dtype != np.float32 or scale.dtype != np.float32:
        raise InterpreterError("x and scale must be float32")
    if attributes.get("block_size", 0):
        raise InterpreterError("blocked quantization is not supported")
    axis = attributes.get("axis", 1)
    if zero is None:
        output_dtype = attributes.get("output_dtype", 0) or onnx.TensorProto.UINT8
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(output_dtype))
    else:
        dtype = zero.dtype
    low, high = code_range(dtype)
    scale = along_axis(scale, x, axis)
    unscaled = scale.size == 1 and scale == 1
    y = x if unscaled else np.asarray(x / scale)
    if zero is None or zero.size == 1:
        return (to_codes(y, np.zeros((), dtype) if zero is None else zero.reshape(()), in_place=not unscaled),)
    rounded = np.rint(y)
    rounded += along_axis(zero.astype(np.float32), x, axis)
    # float32 holds every code of up to 16 bits, and what it cannot hold lies far outside of them.
    return (np.asarray(rounded.clip(low, high).astype(dtype)),)


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

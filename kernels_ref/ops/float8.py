"""The float types of 8 and 4 bits, as Cast and QuantizeLinear make them."""

from functools import cache
from typing import Any

import numpy as np

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.types import Array

_EXPONENTS = "float8_e8m0fnu"
_BIAS, _NOT_A_NUMBER = 127, 255


def is_small_float(dtype: np.dtype[Any]) -> bool:
    """Whether a type is a float of 8 bits or fewer."""
    return dtype.name.startswith(("float8", "float4"))


def to_small_float(x: Array, dtype: np.dtype[Any], *, saturate: bool, rounding: str = "up") -> Array:
    """Floats in a type of 8 bits or fewer, the nearest ones, halves to even.

    Args:
        x: floats.
        dtype: the type.
        saturate: whether what is too large, infinity too, becomes the largest number; else infinity, or NaN where the
            type has none.
        rounding: for a type of exponents alone, "up", "down" or "nearest" (halves up).

    Raises:
        InterpreterError: the rounding is unknown.
    """
    if dtype.name == _EXPONENTS:
        return _to_exponents(x, saturate=saturate, rounding=rounding).view(dtype)
    if saturate or dtype.name.startswith("float4"):  # which has neither infinity nor NaN
        largest = x.dtype.type(_largest(dtype))
        x = np.clip(x, -largest, largest)
    return np.asarray(x.astype(dtype))


@cache
def _largest(dtype: np.dtype[Any]) -> float:
    codes = np.arange(16 if dtype.name.startswith("float4") else 256, dtype=np.uint8)
    values = codes.view(dtype).astype(np.float32)
    return float(values[np.isfinite(values)].max())


def _to_exponents(x: Array, *, saturate: bool, rounding: str) -> Array:
    """The codes of powers of two; of negative numbers, whose result ONNX leaves open, those of their size."""
    if rounding not in ("up", "down", "nearest"):
        raise InterpreterError(f"round_mode is {rounding}; it must be up, down or nearest")
    mantissa, exponent = np.frexp(np.abs(x.astype(np.float64)))  # mantissa from 1/2 up to 1
    raised = {"up": mantissa > 0.5, "down": np.zeros(x.shape, np.bool_), "nearest": mantissa >= 0.75}[rounding]
    codes = exponent.astype(np.int64) - 1 + raised + _BIAS
    codes = np.where(np.isinf(x), _NOT_A_NUMBER, np.where(x == 0, -1, codes))
    outside = (codes < 0) | (codes >= _NOT_A_NUMBER)
    codes = np.where(outside, np.clip(codes, 0, _NOT_A_NUMBER - 1) if saturate else _NOT_A_NUMBER, codes)
    return np.where(np.isnan(x), _NOT_A_NUMBER, codes).astype(np.uint8)

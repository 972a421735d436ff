"""Exact integer matrix products on floating-point BLAS.

A float32 sum of integers is exact, in any order and with or without fused multiply-add, while every partial sum stays
below 2^24; the sum of |a| |w| over K bounds them all. A float64 sum is exact below 2^53.
"""

import numpy as np

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.types import Array

EXACT_F32 = 2**24
EXACT_F64 = 2**53
MAX_I32 = 2**31 - 1


def centred(codes: Array, zero: Array | None) -> Array:
    """`codes - zero` as float32, exact for codes of up to 16 bits; the zero point broadcasts like NumPy's."""
    values = np.asarray(codes.astype(np.float32))
    if zero is not None and zero.any():
        values -= zero.astype(np.float32)
    return values


def exact_product(a: Array, w: Array, bound: float | None = None) -> Array:
    """`a @ w` of integer-valued float matrices, exact.

    Args:
        a: (..., M, K), float32 or float64.
        w: (..., K, N), float32 or float64.
        bound: an upper bound of sum over K of |a| |w|; from the values when left out.

    Returns:
        The product, float32 where the bound allows, else float64.

    Raises:
        InterpreterError: the bound exceeds what float64 sums hold exactly.
    """
    if bound is None:
        bound = a.shape[-1] * _greatest(a) * _greatest(w)
    if bound < EXACT_F32:
        return np.asarray(a @ w)
    if bound >= EXACT_F64:
        raise InterpreterError(f"sums of up to {bound:.0f} cannot be computed exactly")
    return np.asarray(a.astype(np.float64, copy=False) @ w.astype(np.float64, copy=False))


def fits_int32(acc: Array) -> None:
    """Check an accumulator of integers.

    Raises:
        InterpreterError: a value lies outside int32, where an integer kernel would wrap around.
    """
    if acc.size and (acc.max() > MAX_I32 or acc.min() < -MAX_I32 - 1):
        raise InterpreterError(f"the accumulator leaves int32 (from {acc.min():.0f} to {acc.max():.0f})")


def _greatest(x: Array) -> float:
    return float(max(abs(x.max()), abs(x.min()))) if x.size else 0.0

"""Exact integer matrix products on floating-point BLAS.

A float32 sum of integers is exact, in any order and with or without fused multiply-add, while every partial sum stays
below 2^24. Longer sums are cut along K into slices that obey this, and the slices are added in float64, exact below
2^53: a float64 product would take twice the time.
"""

from collections.abc import Sequence

import numpy as np

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.types import Array

EXACT_F32 = 2**24
MAX_I32 = 2**31 - 1


def centred(codes: Array, zero: Array | None) -> Array:
    """`codes - zero` as float32, exact for codes of up to 16 bits; the zero point broadcasts like NumPy's."""
    values = np.asarray(codes.astype(np.float32))
    if zero is not None and zero.any():
        values -= zero.astype(np.float32)
    return values


def with_ones(codes: Array) -> Array:
    """Codes (..., M, K) of up to 16 bits as float32, and a column of ones: (..., M, K + 1)."""
    values = np.empty((*codes.shape[:-1], codes.shape[-1] + 1), np.float32)
    values[..., :-1] = codes
    values[..., -1] = 1
    return values


def weight_slices(w: Array, low: int, high: int) -> tuple[list[slice], float]:
    """Slices of K in which float32 sums are exact, for constant weights and every activation in [low, high].

    A partial sum is a sum of some of the products of a column. It is greatest where positive weights meet `high` and
    negative ones `low`, least the other way around: half of what sum |a| |w| allows where weights of both signs are as
    many.

    Args:
        w: (K, N) or (..., K, N), integers in float32.
        low: least activation without zero point, not above 0.
        high: greatest one, not below 0.

    Returns:
        The slices, as few of equal length as hold, and the bound of a sum over all of K.
    """
    depth = w.shape[-2]
    for count in range(1, depth + 1):
        slices = _equal_slices(depth, -(-depth // count))
        bounds = [_partial_sum_bound(w[..., part, :], low, high) for part in slices]
        if max(bounds) < EXACT_F32:
            return slices, sum(bounds)
    return [slice(0, depth)], 0.0


def factor_slices(depth: int, greatest_product: int) -> list[slice]:
    """Slices of K in which float32 sums are exact, for any factors whose |a| |w| is at most `greatest_product`."""
    return _equal_slices(depth, max(1, (EXACT_F32 - 1) // max(1, greatest_product)))


def exact_product(a: Array, w: Array, slices: Sequence[slice] | None = None) -> Array:
    """`a @ w` of integer-valued float32 matrices, exact.

    Args:
        a: (..., M, K).
        w: (..., K, N).
        slices: parts of K whose float32 sums are exact; from the values when left out.

    Returns:
        The product: float32 from one slice, float64 from several (sums below 2^53 for every K below 2^29).

    Raises:
        InterpreterError: a single product exceeds what float32 holds.
    """
    if slices is None:
        greatest = _greatest(a) * _greatest(w)
        if greatest >= EXACT_F32:
            raise InterpreterError(f"products of up to {greatest:.0f} cannot be summed exactly")
        slices = factor_slices(a.shape[-1], int(greatest))
    if len(slices) <= 1:
        return np.asarray(a @ w)
    acc = (a[..., slices[0]] @ w[..., slices[0], :]).astype(np.float64)
    for part in slices[1:]:
        acc += a[..., part] @ w[..., part, :]
    return np.asarray(acc)


def fits_int32(acc: Array) -> None:
    """Check an accumulator of integers.

    Raises:
        InterpreterError: a value lies outside int32, where an integer kernel would wrap around.
    """
    if acc.size and (acc.max() > MAX_I32 or acc.min() < -MAX_I32 - 1):
        raise InterpreterError(f"the accumulator leaves int32 (from {acc.min():.0f} to {acc.max():.0f})")


def _greatest(x: Array) -> float:
    return float(max(abs(x.max()), abs(x.min()))) if x.size else 0.0


def _equal_slices(depth: int, length: int) -> list[slice]:
    return [slice(start, min(start + length, depth)) for start in range(0, depth, length)]


def _partial_sum_bound(w: Array, low: int, high: int) -> float:
    total, size = w.sum(axis=-2, dtype=np.float64), np.abs(w).sum(axis=-2, dtype=np.float64)
    positive, negative = (size + total) / 2, (size - total) / 2
    return float(np.maximum(positive * high - negative * low, negative * high - positive * low).max(initial=0))

"""`a * b + c` in float32, rounded once, as one instruction of a CPU does."""

import numpy as np

from kernels_ref.ops.types import Array


def fused_multiply_add(a: Array | np.float32, b: Array | np.float32, c: Array | np.float32) -> Array:
    """The float32 next to `a b + c`, halves to even; the arguments are float32 and broadcast.

    A product of two float32 is exact in float64; the sum is rounded to odd there, so that the second rounding, to
    float32, is that of the exact sum.
    """
    product = np.multiply(a, b, dtype=np.float64)
    addend = np.asarray(c, np.float64)
    total = np.asarray(product + addend)
    part = total - product
    error = (product - (total - part)) + (addend - part)
    even = (total.view(np.int64) & 1) == 0
    odd = np.where((error != 0) & even, np.nextafter(total, np.copysign(np.inf, error)), total)
    return np.asarray(odd.astype(np.float32))

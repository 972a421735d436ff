"""Constant weights as BLAS wants them, prepared once.

Where float32 sums are exact, the product takes raw codes, and one row more adds what is constant about a channel:

    sum over K of (a - zero_a) w + bias = [a, 1] @ [w; bias - zero_a sum over K of w]

Elsewhere codes without zero point meet slices of the weights, and the bias is added to the float64 sum.
"""

from dataclasses import dataclass

import numpy as np

from kernels_ref.matmul import EXACT_F32, MAX_I32, exact_product, fits_int32, weight_slices
from kernels_ref.ops.types import Array


@dataclass(frozen=True)
class ConstantWeight:
    """Weights of a fused product.

    Args:
        matrix: (..., K + 1, N) where `with_ones`, else (..., K, N); float32 integers without zero point.
        with_ones: whether the last row holds constants, to be met by ones.
        slices: otherwise, parts of K whose float32 sums are exact.
        bias: otherwise, (N,), float32 where it is exact, else float64; or None.
        may_overflow: whether the accumulator could leave int32.
    """

    matrix: Array
    with_ones: bool
    slices: list[slice]
    bias: Array | None
    may_overflow: bool

    def accumulate(self, a: Array) -> Array:
        """`float32(sum over K of (a - zero) w + bias)`: an exact sum, rounded once.

        Args:
            a: (..., M, K + 1) from `with_ones`, or (..., M, K) from `centred`, as the weights ask.

        Raises:
            InterpreterError: the sum leaves int32.
        """
        if self.with_ones:
            return np.asarray(a @ self.matrix)
        acc = exact_product(a, self.matrix, self.slices)
        if self.bias is not None:
            acc = np.add(acc, self.bias, out=acc if acc.dtype == np.result_type(acc, self.bias) else None)
        if self.may_overflow:
            fits_int32(acc)
        return np.asarray(acc.astype(np.float32, copy=False))


def constant_weight(w: Array, code_span: tuple[int, int], zero: int, bias: Array | None) -> ConstantWeight:
    """Prepare weights.

    Args:
        w: (..., K, N), float32 integers without zero point.
        code_span: least and greatest code of the activation's type.
        zero: the activation's zero point.
        bias: (N,), int32; or None.
    """
    low, high = code_span
    wide = np.zeros(w.shape[-1]) if bias is None else bias.astype(np.float64)
    constants = wide - zero * w.sum(axis=-2, keepdims=True, dtype=np.float64)
    slices, most = weight_slices(w, low, high)
    # The ones make a product of the last row too: it may take part in any partial sum.
    if len(slices) == 1 and most + np.abs(constants).max(initial=0) < EXACT_F32:
        matrix = np.empty((*w.shape[:-2], w.shape[-2] + 1, w.shape[-1]), np.float32)
        matrix[..., :-1, :], matrix[..., -1:, :] = w, constants
        return ConstantWeight(matrix, True, [], None, False)
    slices, most = weight_slices(w, low - zero, high - zero)
    addend: Array | None = None
    if bias is not None:
        most += float(np.abs(wide).max(initial=0))
        addend = bias.astype(np.float32)
        if (addend != wide).any() or most > MAX_I32:
            addend = wide
    return ConstantWeight(np.ascontiguousarray(w), False, slices, addend, most > MAX_I32)

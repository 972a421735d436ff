"""QLinearAdd and QLinearMul: sums and products of two tensors of codes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.limits import check_broadcast
from kernels_ref.ops.types import Array
from kernels_ref.qlinear.fused_multiply_add import fused_multiply_add
from kernels_ref.qlinear.parameters import Quantized, quantized, target


def qlinear_add(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """`a ra + (b rb + (zero_y - (za ra + zb rb)))` with `ra = scale_a / scale_y`, every `x y + z` rounded once.

    Where a is repeated along the last axis, a and b change their places: the constant is then another float.

    Args:
        inputs: a, its scale and zero point; b, its scale and zero point; the result's scale and zero point.
        attributes: none.

    Raises:
        InterpreterError: the inputs are not 8-bit codes with one scale each.
    """
    a, b = quantized(inputs, 0), quantized(inputs, 3)
    y = target(inputs, 6, a.codes.dtype)
    check_broadcast(a.codes, b.codes)
    if _repeated(a.codes.shape, b.codes.shape):
        a, b = b, a
    ra, rb = a.scale / y.scale, b.scale / y.scale
    fixed = np.float32(y.zero - fused_multiply_add(ra, a.zero, rb * b.zero))
    total = fused_multiply_add(a.values, ra, fused_multiply_add(b.values, rb, fixed))
    return (y.saturate(np.rint(total)),)


def qlinear_mul(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """`rint((a - za) (b - zb) ((scale_a scale_b) / scale_y) + zero_y)`, every step float32.

    Args:
        inputs: as of `qlinear_add`.
        attributes: none.

    Raises:
        InterpreterError: likewise.
    """
    a, b = quantized(inputs, 0), quantized(inputs, 3)
    y = target(inputs, 6, a.codes.dtype)
    check_broadcast(a.codes, b.codes)
    product = _product(a, b)
    product *= a.scale * b.scale / y.scale
    product += y.zero
    return (y.saturate(np.rint(product)),)


def _product(a: Quantized, b: Quantized) -> Array:
    return np.asarray(a.centred * b.centred)  # of whole numbers up to 255: exact


def _repeated(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Whether the first shape has size 1 on the last axis on which either has more (or both hold one element)."""
    depth = max(len(a), len(b))
    padded = zip((1,) * (depth - len(a)) + a, (1,) * (depth - len(b)) + b, strict=True)
    sizes = [pair for pair in padded if pair != (1, 1)]
    return not sizes or sizes[-1][0] == 1

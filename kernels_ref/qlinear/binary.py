"""QLinearAdd and QLinearMul: sums and products of two tensors of codes."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from kernels_ref.limits import check_broadcast
from kernels_ref.ops.types import Array
from kernels_ref.qlinear.fused_multiply_add import fused_multiply_add
from kernels_ref.qlinear.parameters import Quantized, Target, quantized, target

#: More elements than this are looked up in the sums of all pairs of codes.
_PAIRS = 1 << 16

#: Every code of 8 bits, by the byte that holds it.
_BYTES = np.arange(256, dtype=np.uint8)


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
    if max(a.codes.size, b.codes.size) <= _PAIRS:
        return (_sum(a, b, y),)
    numbers = np.array([a.scale, a.zero, b.scale, b.zero, y.scale, y.zero], np.float32)
    sums = _sums_of_pairs(a.codes.dtype, y.dtype, numbers.tobytes())  # by their bits: -0.0 is another scale than 0.0
    return (np.take(sums, (a.codes.view(np.uint8).astype(np.uint16) << 8) | b.codes.view(np.uint8)),)


def _sum(a: Quantized, b: Quantized, y: Target) -> Array:
    ra, rb = a.scale / y.scale, b.scale / y.scale
    fixed = np.float32(y.zero - fused_multiply_add(ra, a.zero, rb * b.zero))
    total = fused_multiply_add(a.values, ra, fused_multiply_add(b.values, rb, fixed))
    return y.saturate(np.rint(total))


@lru_cache(maxsize=256)
def _sums_of_pairs(kind: np.dtype[Any], kind_y: np.dtype[Any], numbers: bytes) -> Array:
    """The sum of every pair of codes, by 256 times the byte of a plus that of b: [65536].

    Args:
        kind: type of a and b.
        kind_y: that of the sums.
        numbers: float32, the scale and the zero point of a, b and the sums.
    """
    scale_a, zero_a, scale_b, zero_b, scale_y, zero_y = np.frombuffer(numbers, np.float32)
    codes = _BYTES.view(kind)
    a, b = Quantized(np.repeat(codes, 256), scale_a, zero_a), Quantized(np.tile(codes, 256), scale_b, zero_b)
    return _sum(a, b, Target(scale_y, zero_y, kind_y))


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

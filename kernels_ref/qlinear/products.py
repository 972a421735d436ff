"""QLinearMatMul, QGemm, QLinearConv, ConvInteger: sums of products of codes, exact in int32.

Codes of a sum are `rint(float32(acc) ((scale_a scale_b) / scale_y)) + zero_y`, every step float32, saturated.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.errors import InterpreterError
from kernels_ref.matmul import centred, exact_product, fits_int32
from kernels_ref.ops.arguments import optional, required
from kernels_ref.ops.conv import conv
from kernels_ref.ops.quantize_linear import to_codes
from kernels_ref.ops.types import Array
from kernels_ref.qlinear.parameters import EIGHT_BITS


def qlinear_mat_mul(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """A matrix product of codes, batched like NumPy's.

    Args:
        inputs: a (..., M, K), its scale and zero point; b (..., K, N), its scales and zero points (one, or one for each
            column); the result's scale and zero point.
        attributes: none.

    Raises:
        InterpreterError: the inputs are not 8-bit codes, or a sum leaves int32.
    """
    a, scale_a, zero_a, b, scale_b, zero_b, scale_y, zero_y = required(inputs, 8)
    acc = _product(a, zero_a, b, zero_b)
    return (_codes(acc, scale_a, scale_b, scale_y, zero_y),)


def qgemm(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """A matrix product of codes with a bias; floats where the result has no scale.

    Args:
        inputs: a (M, K), b (K, N), each with scale and zero point; the bias (N,), int32 (optional); the result's scale
            and zero point (optional).
        attributes: `transA` and `transB` (0), `alpha` (1.0, no other).

    Raises:
        InterpreterError: likewise, or alpha is not 1.
    """
    a, scale_a, zero_a, b, scale_b, zero_b = required(inputs, 6)
    bias, scale_y, zero_y = (optional(inputs, index) for index in (6, 7, 8))
    if attributes.get("alpha", 1.0) != 1 or a.ndim != 2 or b.ndim != 2:
        raise InterpreterError("a QGemm of alpha 1 and two matrices is supported")
    acc = _product(a.T if attributes.get("transA", 0) else a, zero_a, b.T if attributes.get("transB", 0) else b, zero_b)
    if bias is not None:
        if bias.dtype != np.int32:
            raise InterpreterError(f"the bias is {bias.dtype}; it must be int32")
        acc = acc + bias.astype(np.float64)
    if scale_y is None:
        fits_int32(acc)
        return (np.asarray(acc.astype(np.float32) * (_one(scale_a) * _row(scale_b))),)
    return (_codes(acc, scale_a, scale_b, scale_y, zero_y),)


def qlinear_conv(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """A convolution of codes; around x stand zeros, which its zero point stands for.

    Args:
        inputs: x, its scale and zero point; w, its scales and zero points (one, or one for each output channel); the
            result's scale and zero point; the bias (M,), int32 (optional).
        attributes: as of Conv.

    Raises:
        InterpreterError: the inputs are not 8-bit codes, or a sum leaves int32.
    """
    x, scale_x, zero_x, w, scale_w, zero_w, scale_y, zero_y = required(inputs, 8)
    acc = _convolution((x, zero_x), (w, zero_w), optional(inputs, 8), attributes)
    column = (-1, *[1] * (acc.ndim - 2))
    return (_codes(acc, scale_x, scale_w.reshape(column) if scale_w.size > 1 else scale_w, scale_y, zero_y),)


def conv_integer(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """A convolution of codes as int32.

    Args:
        inputs: x, w, their zero points (optional).
        attributes: as of Conv.

    Raises:
        InterpreterError: likewise.
    """
    x, w = required(inputs, 2)
    acc = _convolution((x, optional(inputs, 2)), (w, optional(inputs, 3)), None, attributes)
    return (np.asarray(acc.astype(np.int32)),)


def _product(a: Array, zero_a: Array, b: Array, zero_b: Array) -> Array:
    if a.dtype not in EIGHT_BITS or b.dtype not in EIGHT_BITS or zero_a.size != 1:
        raise InterpreterError("a and b must be uint8 or int8, and a on one scale")
    product = exact_product(centred(a, zero_a.reshape(())), centred(b, _row(zero_b)))
    return np.asarray(product.astype(np.float64))


def _convolution(
    x: tuple[Array, Array | None], w: tuple[Array, Array | None], bias: Array | None, attributes: Mapping[str, Any]
) -> Array:
    (codes, zero_x), (weights, zero_w) = x, w
    if (
        codes.dtype not in EIGHT_BITS
        or weights.dtype not in EIGHT_BITS
        or (bias is not None and bias.dtype != np.int32)
    ):
        raise InterpreterError("x and w must be uint8 or int8, and a bias int32")
    wide = codes.astype(np.float64) - (0 if zero_x is None else float(_one(zero_x)))
    weight = weights.astype(np.float64)
    if zero_w is not None:
        weight -= zero_w.astype(np.float64).reshape(-1, *[1] * (weights.ndim - 1))
    (acc,) = conv((wide, weight, None if bias is None else bias.astype(np.float64)), attributes)
    fits_int32(acc)
    return acc


def _codes(acc: Array, scale_a: Array, scale_b: Array, scale_y: Array, zero_y: Array | None) -> Array:
    fits_int32(acc)
    factor = (_one(scale_a) * _row(scale_b)) / _one(scale_y)
    zero = np.zeros((), np.uint8) if zero_y is None else zero_y.reshape(())
    return to_codes(acc.astype(np.float32) * factor, zero, in_place=True)


def _one(x: Array) -> Array:
    if x.size != 1:
        raise InterpreterError(f"one value is expected where there are {x.size}")
    return x.reshape(())


def _row(x: Array) -> Array:
    return x.reshape(()) if x.size == 1 else x

"""QLinearSoftmax: exponentials from a table, and their float32 sum in order."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.arguments import axis_of
from kernels_ref.ops.types import Array
from kernels_ref.qlinear.parameters import quantized, target

_FLOAT_MAX = float(np.finfo(np.float32).max)
#: Powers of e that a sum stays below the largest float32 by.
_SPARE = 5.0


def qlinear_softmax(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """`rint(e floor(1 / scale_y) / sum of e) + zero_y`, with `e` a float32 from a table of 256.

    The table holds `exp((code - 255 + shift) scale_x)` for unsigned codes, rounded once from float64; the shift makes
    the exponentials as large as their sum allows. Every row is moved so that its maximum meets the last entry. The sum
    is float32, from the first element to the last. Every further step is float32.

    Args:
        inputs: x, its scale and zero point; the result's scale and zero point.
        attributes: `axis` (-1), `opset` (before 13) or `of_matrix`: all axes from `axis` on are one.

    Raises:
        InterpreterError: the inputs are not 8-bit codes with one scale, there is no such axis, or an exponential over
            scale_y is infinite (one element only, or a scale below 1/256).
    """
    x = quantized(inputs, 0)
    y = target(inputs, 3, x.codes.dtype)
    old = _is_old(attributes)
    axis = axis_of(attributes.get("axis", 1 if old else -1), x.codes.ndim)
    shape = x.codes.shape
    rows = x.codes.reshape(*shape[:axis], -1) if old else np.moveaxis(x.codes, axis, -1)
    if not rows.size:
        return (x.codes.astype(y.dtype),)
    # Unsigned: int8 codes are 128 lower, and only distances to the maximum matter.
    wide = rows.astype(np.int16)
    e = _table(float(x.scale), rows.shape[-1])[255 + wide - wide.max(axis=-1, keepdims=True)]
    total = np.zeros((*e.shape[:-1], 1), np.float32)
    for i in range(e.shape[-1]):
        total += e[..., i : i + 1]
    scaled = e * np.floor(np.float32(1) / y.scale)
    if not np.isfinite(scaled).all():
        raise InterpreterError(f"the exponentials of {e.shape[-1]} elements leave float32 at a scale of {y.scale}")
    result = y.saturate(np.rint(scaled / total) + y.zero)
    return (result.reshape(shape) if old else np.ascontiguousarray(np.moveaxis(result, -1, axis)),)


def row_length(shape: tuple[int, ...], attributes: Mapping[str, Any]) -> int:
    """How many elements one sum has."""
    old = _is_old(attributes)
    axis = axis_of(attributes.get("axis", 1 if old else -1), len(shape))
    return math.prod(shape[axis:]) if old else shape[axis]


def shift_of(scale: float, length: int) -> float:
    """By how many codes the exponentials are moved up."""
    most = np.float32(math.log(np.float32(_FLOAT_MAX) / np.float32(length)))  # float32, as its argument
    return max(0.0, float(most) - _SPARE) / scale


def _is_old(attributes: Mapping[str, Any]) -> bool:
    return bool(attributes.get("of_matrix", attributes.get("opset", 13) < 13))


def _table(scale: float, length: int) -> Array:
    shift = shift_of(scale, length)
    return np.array([math.exp((i - 255 + shift) * scale) for i in range(256)], np.float64).astype(np.float32)

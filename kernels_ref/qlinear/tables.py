"""QLinearSigmoid, QLinearLeakyRelu and QLinearConcat: a table of 256 results for each tensor of codes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.arguments import axis_of
from kernels_ref.ops.quantize_linear import to_codes
from kernels_ref.ops.sigmoid import sigmoid
from kernels_ref.ops.types import Array
from kernels_ref.qlinear.parameters import Quantized, Target, quantized, target


def qlinear_sigmoid(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """The codes of `sigmoid(scale_x (x - zero_x))`.

    A runtime's sigmoid differs in the last bits; `kernels_ref.claims` says of which tables the codes do not.

    Args:
        inputs: x, its scale and zero point; the result's scale and zero point.
        attributes: none.

    Raises:
        InterpreterError: the inputs are not 8-bit codes with one scale.
    """
    x = quantized(inputs, 0)
    return (_looked_up(x, target(inputs, 3, x.codes.dtype), lambda real: sigmoid([real], {})[0]),)


def qlinear_leaky_relu(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """The codes of `x if x >= 0 else alpha x`, with `x = scale_x (x - zero_x)` and alpha as float32.

    Args:
        inputs: as of `qlinear_sigmoid`.
        attributes: `alpha` (0.01).

    Raises:
        InterpreterError: likewise.
    """
    x, alpha = quantized(inputs, 0), np.float32(attributes.get("alpha", 0.01))
    leaky = _looked_up(x, target(inputs, 3, x.codes.dtype), lambda real: np.where(real >= 0, real, alpha * real))
    return (leaky,)


def qlinear_concat(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """Tensors of codes on one scale, one behind the other.

    Args:
        inputs: the result's scale and zero point; then each tensor with its scale and zero point.
        attributes: `axis`.

    Raises:
        InterpreterError: likewise, or there is no such axis.
    """
    if len(inputs) < 5 or len(inputs) % 3 != 2:
        raise InterpreterError("each tensor must come with its scale and zero point")
    tensors = [quantized(inputs, first) for first in range(2, len(inputs), 3)]
    y = target(inputs, 0, tensors[0].codes.dtype)
    parts = [
        x.codes if (x.scale, x.zero) == (y.scale, y.zero) else _looked_up(x, y, lambda real: real) for x in tensors
    ]
    return (np.concatenate(parts, axis=axis_of(attributes.get("axis", 1), parts[0].ndim)),)


def table_arguments(x: Quantized) -> Array:
    """What each of the 256 codes stands for, float32, by the bits of the code."""
    every = np.arange(256, dtype=np.uint8).view(x.codes.dtype)
    return np.asarray(x.scale * (every.astype(np.float32) - x.zero))


def _looked_up(x: Quantized, y: Target, function: Callable[[Array], Array]) -> Array:
    table = to_codes(function(table_arguments(x)) / y.scale, np.asarray(y.zero, y.dtype))
    return np.asarray(table[x.codes.view(np.uint8)])

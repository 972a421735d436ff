"""DynamicQuantizeLinear: codes on a scale that the values themselves give."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.arguments import required
from kernels_ref.ops.quantize_linear import to_codes
from kernels_ref.ops.types import Array


def dynamic_quantize_linear(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """uint8 codes, `scale = (max - min) / 255` and `zero = rint(clip(-min / scale, 0, 255))`, 0 among min and max.

    Every step is float32; the scale of nothing but zeros is 1.

    Args:
        inputs: x, float32.
        attributes: none.

    Raises:
        InterpreterError: x is not float32, or holds a value that is not finite.
    """
    (x,) = required(inputs, 1)
    if x.dtype != np.float32:
        raise InterpreterError(f"x is {x.dtype}; it must be float32")
    zero_point = np.float32(0)
    low, high = x.min(initial=zero_point), x.max(initial=zero_point)
    if not np.isfinite(high - low):
        raise InterpreterError("x holds values that are not finite, or too far apart")
    scale = np.float32((high - low) / np.float32(255)) if high != low else np.float32(1)
    zero = np.rint(np.clip(-low / scale, 0, 255)).astype(np.uint8)
    return to_codes(x / scale, np.asarray(zero), in_place=True), np.asarray(scale), np.asarray(zero)

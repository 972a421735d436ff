"""DequantizeLinear: codes to float32."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.per_axis import along_axis
from kernels_ref.ops.quantize_linear import code_range
from kernels_ref.ops.types import Array


def dequantize_linear(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """`float32(x - zero_point) * scale`; the difference is exact.

    Args:
        inputs: x (4, 8 or 16 bits, or int32), scale (float32, one or one for each index of `axis`), zero point
            (optional, the type of x; zero for int32).
        attributes: `axis` (1).

    Raises:
        InterpreterError: a wrong type, an int32 zero point that is not zero, or the quantization is blocked.
    """
    x, scale = inputs[0], inputs[1]
    zero = inputs[2] if len(inputs) > 2 else None
    if x is None or scale is None or scale.dtype != np.float32:
        raise InterpreterError("scale must be float32")
    code_range(x.dtype)
    if attributes.get("block_size", 0):
        raise InterpreterError("blocked quantization is not supported")
    if zero is not None and zero.dtype != x.dtype:
        raise InterpreterError(f"x is {x.dtype} and its zero point {zero.dtype}")
    axis = attributes.get("axis", 1)
    y = np.asarray(x.astype(np.float32))
    if zero is not None and zero.any():
        if x.dtype.itemsize > 2:
            raise InterpreterError(f"the zero point of {x.dtype} codes must be 0")
        y -= along_axis(zero.astype(np.float32), x, axis)
    scale = along_axis(scale, x, axis)
    if scale.size != 1 or scale != 1:
        y *= scale
    return (y,)

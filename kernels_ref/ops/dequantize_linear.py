"""DequantizeLinear: codes to floats."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.float8 import is_small_float
from kernels_ref.ops.per_axis import along_axis
from kernels_ref.ops.quantize_linear import code_range
from kernels_ref.ops.types import Array


def dequantize_linear(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> tuple[Array, ...]:
    """`(x - zero_point) * scale` in the type of the scale, or in `output_dtype`; the difference is exact.

    Args:
        inputs: x (2, 4, 8 or 16 bits, int32, or floats of 8 bits or fewer), scale (a float, one or one for each index
            of `axis`), zero point (optional, the type of x; zero for int32).
        attributes: `axis` (1), `block_size` (0: no blocks), `output_dtype` (0: the type of the scale).

    Raises:
        InterpreterError: a wrong type, or an int32 zero point that is not zero.
    """
    x, scale = inputs[0], inputs[1]
    zero = inputs[2] if len(inputs) > 2 else None
    if x is None or scale is None or "float" not in scale.dtype.name:
        raise InterpreterError("x and a float scale are required")
    if not is_small_float(x.dtype):
        code_range(x.dtype)
    if zero is not None and zero.dtype != x.dtype:
        raise InterpreterError(f"x is {x.dtype} and its zero point {zero.dtype}")
    axis, block = attributes.get("axis", 1), attributes.get("block_size", 0)
    y = np.asarray(x.astype(np.float32))
    if zero is not None and zero.any():
        if x.dtype.itemsize > 2:
            raise InterpreterError(f"the zero point of {x.dtype} codes must be 0")
        y -= along_axis(zero.astype(np.float32), x, axis, block)
    # Products of codes and scales of 16 bits are exact in float32, and so rounded once.
    scale32 = along_axis(scale.astype(np.float32, copy=False), x, axis, block)
    if scale32.size != 1 or scale32 != 1:
        y *= scale32
    output = attributes.get("output_dtype", 0)
    return (y.astype(onnx.helper.tensor_dtype_to_np_dtype(output) if output else scale.dtype, copy=False),)

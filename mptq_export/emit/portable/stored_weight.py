"""Weight codes of 8 bits behind a DequantizeLinear."""

import numpy as np
from numpy.typing import NDArray

from mptq_export.emit.portable.context import PortableContext


def dequantized(
    context: PortableContext, name: str, codes: NDArray[np.int8], scale: NDArray[np.float32], *, axis: int
) -> str:
    """Codes with a scale for each output channel, as floats.

    Where zero points must not all be 0, that of the first channel is -1, and its codes are one lower: the same weights.

    Args:
        context: the emission.
        name: of the weight.
        codes: from -127 to 127.
        scale: [N].
        axis: of the output channels.
    """
    zeros = np.zeros(len(scale), np.int8)
    if context.form.off_middle:
        zeros[0] = -1
        at = [1] * codes.ndim
        at[axis] = -1
        codes = codes + zeros.reshape(at)
    inputs = [
        context.onnx.own_constant(f"{name}.codes", codes),
        context.onnx.constant(f"{name}.scale", scale),
        context.onnx.own_constant(f"{name}.zero_point", zeros),
    ]
    return context.onnx.one("DequantizeLinear", inputs, name, axis=axis)

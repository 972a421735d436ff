"""Values of few bits, packed into bytes, as initializers have them."""

import numpy as np
import onnx
from numpy.typing import NDArray

from mptq_export.emit.builder import OnnxBuilder


def four_bits(builder: OnnxBuilder, name: str, values: NDArray[np.int8] | NDArray[np.uint8]) -> str:
    """An INT4 initializer of the same shape, of values from -8 to 7; a UINT4 one, of values from 0 to 15, of uint8."""
    signed = values.dtype == np.int8
    raw = pack_bits((values.ravel() & 15).astype(np.uint8), 4, interleaved=True).tobytes()
    kind = onnx.TensorProto.INT4 if signed else onnx.TensorProto.UINT4
    packed = onnx.helper.make_tensor(f"{name}.{'' if signed else 'u'}int4", kind, values.shape, raw, raw=True)
    return builder.initializer(packed)


def pack_bits(values: NDArray[np.uint8], width: int, *, interleaved: bool = False) -> NDArray[np.uint8]:
    """Pack values of `width` bits into bytes, lowest bits first.

    Args:
        values: uint8, 1-D; padded with zeros to a multiple of 8.
        width: 1, 2 or 4.
        interleaved: whether neighbours share a byte (as in INT4 tensors); else value i shares a byte with i plus
            multiples of the number of bytes, so that a byte's values are in different rows.

    Returns:
        uint8, 1-D.
    """
    count = 8 // width
    pad = -len(values) % (count if interleaved else 8)
    padded = np.pad(values, (0, pad))
    groups = padded.reshape(-1, count) if interleaved else padded.reshape(count, -1).T
    shifts = (np.arange(count) * width).astype(np.uint8)
    return np.asarray(np.bitwise_or.reduce(groups << shifts, axis=1).astype(np.uint8))

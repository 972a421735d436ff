"""Values of few bits, packed into bytes, as initializers have them."""

import numpy as np
import onnx
from numpy.typing import NDArray

from mptq_export.emit.builder import INT32, OnnxBuilder


def four_bits(builder: OnnxBuilder, name: str, codes: NDArray[np.int8]) -> str:
    """Codes from -8 to 7 as an INT4 initializer of the same shape."""
    raw = pack_bits((codes.ravel() & np.int8(15)).astype(np.uint8), 4, interleaved=True).tobytes()
    packed = onnx.helper.make_tensor(f"{name}.int4", onnx.TensorProto.INT4, codes.shape, raw, raw=True)
    return builder.initializer(packed)


def look_up(builder: OnnxBuilder, name: str, packed: NDArray[np.uint8], values: NDArray[np.int8]) -> str:
    """Values by their numbers, of which a byte holds several: int8 [1, elements].

    Args:
        builder: the graph under construction.
        name: of the result.
        packed: numbers of 2 or 4 bits, packed so that neighbours share a byte, [bytes].
        values: of every number, int8 [4] or [16].
    """
    width = len(values).bit_length() - 1
    shifts = np.arange(0, 8, width)
    table = values[(np.arange(256)[:, None] >> shifts) & (len(values) - 1)]
    index = builder.one("Cast", [builder.own_constant(f"{name}.bytes", packed[None])], f"{name}.index", to=INT32)
    found = builder.one("Gather", [builder.constant(f"values{width}", table), index], f"{name}.values", axis=0)
    return builder.one("Reshape", [found, builder.shape([1, -1])], name)


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

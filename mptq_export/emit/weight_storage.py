"""True-size weights: codes of b bits take b bits in the file.

4-bit codes are an INT4 initializer behind a Cast. Other widths are split into fields of 4, 2 and 1 bits; each field is
packed into bytes, piece after piece, and unpacked by BitShift and BitwiseAnd. All of it reads constants only, so
onnxruntime folds it when the file is loaded and the kernels see plain int8 weights.
"""

import numpy as np
import onnx
from numpy.typing import NDArray

from mptq_export.emit.builder import OnnxBuilder

#: Bit-widths of the fields that add up to a code of so many bits.
_FIELDS = {2: (2,), 3: (2, 1), 5: (4, 1), 6: (4, 2), 7: (4, 2, 1)}

#: Bytes that one unpacking node takes in the file, names included.
_NODE_BYTES = 160


def _unpack_nodes(bits: int) -> int:
    """Number of nodes that unpack a weight: a small weight is smaller without them."""
    return 1 if bits == 4 else 4 + sum(2 * (8 // width) + 2 for width in _FIELDS[bits])


def store_weight(builder: OnnxBuilder, name: str, codes: NDArray[np.int8], bits: int, storage: str) -> str:
    """Emit weight codes and return the name of an int8 tensor of the same shape.

    Args:
        builder: the graph under construction.
        name: name of the weight.
        codes: int8 [K, N], within the range of `bits`.
        bits: 2 to 8.
        storage: `packed` or `int8`.
    """
    if storage == "int8" or bits == 8 or codes.size * (8 - bits) // 8 < _NODE_BYTES * _unpack_nodes(bits):
        return builder.constant(name, codes)
    if bits == 4:
        nibbles = (codes.ravel() & np.int8(15)).astype(np.uint8)
        raw = pack_bits(nibbles, 4, interleaved=True).tobytes()
        packed = onnx.helper.make_tensor(f"{name}.int4", onnx.TensorProto.INT4, codes.shape, raw, raw=True)
        return builder.one("Cast", [builder.initializer(packed)], name, to=onnx.TensorProto.INT8)
    offset = 2 ** (bits - 1)
    unsigned = (codes.astype(np.int16) + offset).astype(np.uint8).ravel()
    total = ""
    position = bits
    for width in _FIELDS[bits]:
        position -= width
        field = (unsigned >> position) & (2**width - 1)
        values = _unpacked(builder, f"{name}.bits{position}", field, width)
        if position:
            values = builder.one(
                "BitShift", [values, builder.scalar(position, np.uint8)], f"{name}.up{position}", direction="LEFT"
            )
        total = builder.one("BitwiseOr", [total, values], f"{name}.or{position}") if total else values
    # uint8 has no subtraction in the runtimes; int32 has
    wide = builder.one("Cast", [total], f"{name}.int32", to=onnx.TensorProto.INT32)
    signed = builder.one("Sub", [wide, builder.scalar(offset, np.int32)], f"{name}.signed")
    narrow = builder.one("Cast", [signed], f"{name}.flat", to=onnx.TensorProto.INT8)
    if codes.size % 8:
        limits = [builder.shape([v]) for v in (0, codes.size, 0)]
        narrow = builder.one("Slice", [narrow, *limits], f"{name}.cut")
    return builder.one("Reshape", [narrow, builder.shape(list(codes.shape))], name)


def _unpacked(builder: OnnxBuilder, name: str, field: NDArray[np.uint8], width: int) -> str:
    """Bytes as an initializer, and the nodes that give one value of `width` bits an element (padded to 8)."""
    packed = builder.constant(name, pack_bits(field, width))
    mask = builder.scalar(2**width - 1, np.uint8)
    pieces = []
    for shift in range(0, 8, width):
        piece = packed
        if shift:
            amount = builder.scalar(shift, np.uint8)
            piece = builder.one("BitShift", [packed, amount], f"{name}.right{shift}", direction="RIGHT")
        pieces.append(builder.one("BitwiseAnd", [piece, mask], f"{name}.and{shift}"))
    return builder.one("Concat", pieces, f"{name}.values", axis=0)


def pack_bits(values: NDArray[np.uint8], width: int, *, interleaved: bool = False) -> NDArray[np.uint8]:
    """Pack values of `width` bits into bytes, lowest bits first.

    Args:
        values: uint8, 1-D; padded with zeros to a multiple of 8.
        width: 1, 2 or 4.
        interleaved: whether neighbours share a byte (as in INT4 tensors); else value i shares a byte with i plus
            multiples of the number of bytes, so that unpacking is a concatenation.

    Returns:
        uint8, 1-D.
    """
    count = 8 // width
    pad = -len(values) % (count if interleaved else 8)
    padded = np.pad(values, (0, pad))
    groups = padded.reshape(-1, count) if interleaved else padded.reshape(count, -1).T
    shifts = (np.arange(count) * width).astype(np.uint8)
    return np.asarray(np.bitwise_or.reduce(groups << shifts, axis=1).astype(np.uint8))

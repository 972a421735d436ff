"""True-size weights: codes of b bits take b bits in the file.

4-bit codes are an INT4 initializer behind a Cast. Of wider ones, the upper four bits, sign and all, are an INT4
initializer; the bits below are fields of 2 and 1 bits. Narrower ones are fields alone, whose sign bit is then spread.

Fields are packed into bytes. One BitShift, which broadcasts an amount for every row of its result, brings all values of
a field down; what stays above each is known at export, and the field above is stored XOR that, so that one mask serves
all fields. All of it reads constants only: onnxruntime folds it when it loads the file, and the kernels see plain int8
weights. Every node costs a copy of the weight until all is folded, so there are few.
"""

from collections.abc import Callable

import numpy as np
import onnx
from numpy.typing import NDArray

from mptq_export.emit.builder import INT8, UINT8, OnnxBuilder
from mptq_export.recipe.settings import WeightStorage

#: Bit-widths of the fields below the upper four bits, or below nothing.
_FIELDS: dict[int, tuple[int, ...]] = {2: (2,), 3: (2, 1), 4: (), 5: (1,), 6: (2,), 7: (2, 1)}

#: Bytes that one unpacking node takes in the file, names included.
NODE_BYTES = 160

#: Most nodes that unpack a weight: a small weight is smaller without them.
MOST_NODES = {2: 9, 3: 12, 4: 1, 5: 9, 6: 9, 7: 12}

#: Values while they are unpacked: a row for every value of a byte of 1-bit fields, pairs of rows for 2-bit fields.
_ROWS = (4, 2, -1)


StoreWeight = Callable[[OnnxBuilder, str, NDArray[np.int8], int], str]
"""Emits weight codes of so many bits under a name."""


def store_int8(builder: OnnxBuilder, name: str, codes: NDArray[np.int8], _bits: int) -> str:
    """Weight codes as an int8 initializer; arguments as for `store_packed`."""
    return builder.own_constant(name, codes)


def store_packed(builder: OnnxBuilder, name: str, codes: NDArray[np.int8], bits: int) -> str:
    """Weight codes at their own width, where that makes the file smaller.

    Args:
        builder: the graph under construction.
        name: name of the weight, which is stored for it alone even where another is equal (see `own_constant`), and
            once however often it is asked for.
        codes: int8 [K, N], within the range of `bits`.
        bits: 2 to 8.

    Returns:
        Name of an int8 tensor of the same shape.
    """
    if bits == 8 or codes.size * (8 - bits) // 8 < NODE_BYTES * MOST_NODES[bits]:
        return store_int8(builder, name, codes, bits)
    if bits == 4:
        return builder.one("Cast", [_int4(builder, name, codes)], name, to=INT8)
    flat = np.pad(codes.ravel(), (0, -codes.size % 8)).reshape(_ROWS)
    below = sum(_FIELDS[bits])
    fields = _fields(builder, name, flat.view(np.uint8) & np.uint8(2**below - 1), _FIELDS[bits])
    if bits > 4:
        upper = builder.one("Cast", [_int4(builder, name, flat >> below)], f"{name}.uint8", to=UINT8)
        fields = builder.one("BitwiseOr", [_up(builder, upper, below, f"{name}.upper"), fields], f"{name}.code")
    result = builder.one("Cast", [fields], f"{name}.int8", to=INT8)
    if bits < 4:
        sign = builder.one("BitwiseAnd", [result, builder.scalar(2 ** (bits - 1), np.int8)], f"{name}.sign")
        spread = builder.one("Neg", [sign], f"{name}.spread")  # ones from the sign bit upwards
        result = builder.one("BitwiseOr", [result, spread], f"{name}.flat")
    if flat.size != codes.size:
        # Not 1-D: shape inference would take every element for a dimension.
        result = builder.one("Reshape", [result, builder.shape([1, -1])], f"{name}.padded")
        limits = [builder.shape([v]) for v in (0, codes.size, 1)]
        result = builder.one("Slice", [result, *limits], f"{name}.cut")
    return builder.one("Reshape", [result, builder.shape(list(codes.shape))], name)


STORAGES: dict[WeightStorage, StoreWeight] = {"packed": store_packed, "int8": store_int8}


def _int4(builder: OnnxBuilder, name: str, codes: NDArray[np.int8]) -> str:
    """Codes from -8 to 7 as an INT4 initializer of the same shape."""
    raw = pack_bits((codes.ravel() & np.int8(15)).astype(np.uint8), 4, interleaved=True).tobytes()
    packed = onnx.helper.make_tensor(f"{name}.int4", onnx.TensorProto.INT4, codes.shape, raw, raw=True)
    return builder.initializer(packed)


def _up(builder: OnnxBuilder, values: str, position: int, name: str) -> str:
    """uint8 values moved up by so many bits."""
    amount = builder.scalar(position, np.uint8)
    return builder.one("BitShift", [values, amount], name, direction="LEFT") if position else values


def _fields(builder: OnnxBuilder, name: str, values: NDArray[np.uint8], widths: tuple[int, ...]) -> str:
    """Values of as many bits as the fields have together, the highest field first: uint8, the shape of `values`."""
    total, position = "", 0
    rest = values
    for width in reversed(widths):
        packed = pack_bits((rest & np.uint8(2**width - 1)).ravel(), width).reshape(1, width, -1)
        amounts = np.arange(0, 8, width, dtype=np.uint8).reshape(4, -1, 1)
        inputs = [builder.own_constant(f"{name}.bits{position}", packed), builder.constant(f"shifts{width}", amounts)]
        moved = builder.one("BitShift", inputs, f"{name}.down{position}", direction="RIGHT")
        moved = _up(builder, moved, position, f"{name}.up{position}")
        total = builder.one("BitwiseXor", [total, moved], f"{name}.fields{position}") if total else moved
        rest = (rest ^ (packed >> amounts)) >> np.uint8(width)
        position += width
    return builder.one("BitwiseAnd", [total, builder.scalar(2**position - 1, np.uint8)], f"{name}.fields")


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

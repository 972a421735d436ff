"""True-size weights: codes of b bits take b bits in the file.

4-bit codes are an INT4 initializer behind a Cast. Of wider ones, the upper four bits, sign and all, are an INT4
initializer; the bits below are fields of 2 and 1 bits. Narrower ones are fields alone, whose sign bit is then spread.

Fields are packed into bytes. One BitShift, which broadcasts an amount for every row of its result, brings all values of
a field down; what stays above each is known at export, and the field above is stored XOR that, so that one mask serves
all fields.

Of codes with regions the numbers of the core levels are packed into bytes, and a table has the levels: of numbers of 2
and 4 bits those of every byte. What outliers add comes afterwards (`weight_outliers.py`).

All of it reads constants only: onnxruntime folds it when it loads the file, and the kernels see plain int8 weights.
Every node costs a copy of the weight until all is folded, so there are few.
"""

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mptq_export.emit.builder import INT8, INT32, UINT8, OnnxBuilder
from mptq_export.emit.exact.packed_bits import four_bits, look_up, pack_bits
from mptq_export.emit.exact.weight_outliers import OUTLIER_NODES, Outliers
from mptq_export.recipe.schema import WeightQuant, WeightRegions
from mptq_export.recipe.settings import WeightStorage
from mptq_export.recipe.weight_levels import split_codes

#: Bit-widths of the fields below the upper four bits, or below nothing.
_FIELDS: dict[int, tuple[int, ...]] = {2: (2,), 3: (2, 1), 4: (), 5: (1,), 6: (2,), 7: (2, 1)}

#: Bytes that one unpacking node takes in the file, names included.
NODE_BYTES = 160

#: Most nodes that unpack a weight: a small weight is smaller without them.
MOST_NODES = {2: 9, 3: 12, 4: 1, 5: 9, 6: 9, 7: 12, 8: 0}

#: The same of the core levels of codes with regions.
_LEVEL_NODES = {2: 5, 3: 10, 4: 5}

#: Values while they are unpacked: a row for every value of a byte of 1-bit fields, pairs of rows for 2-bit fields.
_ROWS = (4, 2, -1)


class StoreWeight(Protocol):
    """Emits weight codes under a name."""

    def __call__(
        self,
        builder: OnnxBuilder,
        name: str,
        codes: NDArray[np.int8],
        bits: int,
        regions: WeightRegions | None = None,
    ) -> str:
        """The name of an int8 tensor of the codes; arguments as for `store_packed`."""
        ...


def store_int8(
    builder: OnnxBuilder,
    name: str,
    codes: NDArray[np.int8],
    bits: int,
    regions: WeightRegions | None = None,
) -> str:
    """Weight codes as an int8 initializer; arguments as for `store_packed`."""
    del bits, regions
    return builder.own_constant(name, codes)


def store_packed(
    builder: OnnxBuilder,
    name: str,
    codes: NDArray[np.int8],
    bits: int,
    regions: WeightRegions | None = None,
) -> str:
    """Weight codes at their own width, where that makes the file smaller.

    Args:
        builder: the graph under construction.
        name: name of the weight, which is stored for it alone even where another is equal (see `own_constant`), and
            once however often it is asked for.
        codes: int8 [K, N], or the kernels of a convolution; within the range of `bits` where there are no regions.
        bits: 2 to 8.
        regions: of the codes; None where all whole numbers of the width are codes.

    Returns:
        Name of an int8 tensor of the same shape.
    """
    if regions is None:
        if not _pays(codes, bits, 0, MOST_NODES[bits]):
            return store_int8(builder, name, codes, bits)
        if bits == 4:
            return builder.one("Cast", [four_bits(builder, name, codes)], name, to=INT8)
        return _whole(builder, name, codes, bits)
    stored = _Levels.of(codes, bits, regions)
    if not _pays(codes, bits, stored.table_bytes + stored.outliers.stored, stored.nodes):
        return store_int8(builder, name, codes, bits)
    return stored.emit(builder, name)


def stored_bytes(quant: WeightQuant) -> int:
    """Bytes that the codes of a layer take in a file, with what unpacks them but for tables that layers share."""
    codes, bits = quant.codes, quant.bits
    further, shared, nodes = 0, 0, MOST_NODES[bits]
    if quant.regions is not None:
        stored = _Levels.of(codes.T, bits, quant.regions)
        further, shared, nodes = stored.outliers.stored, stored.table_bytes, stored.nodes
    if not _pays(codes, bits, further + shared, nodes):
        return codes.size + NODE_BYTES
    return -(-codes.size * bits // 8) + further + NODE_BYTES * nodes


@dataclass(frozen=True)
class _Levels:
    """Codes with regions as they are stored.

    Attributes:
        bits: width of the core.
        number: of the core level of every code, uint8, the shape of the codes.
        table: the core levels, int8 [2 ** bits].
        outliers: what is added to core levels.
    """

    bits: int
    number: NDArray[np.uint8]
    table: NDArray[np.int8]
    outliers: Outliers

    @staticmethod
    def of(codes: NDArray[np.int8], bits: int, regions: WeightRegions) -> "_Levels":
        """Take codes apart."""
        number, payload = split_codes(codes, regions)
        return _Levels(bits, number, np.array(regions.levels, np.int8), Outliers.of(payload, regions.shift))

    @property
    def nodes(self) -> int:
        """Most nodes that make codes of it."""
        return _LEVEL_NODES[self.bits] + (OUTLIER_NODES if self.outliers.stored else 0)

    @property
    def table_bytes(self) -> int:
        """Bytes of the tables, which layers with the same core and outliers share."""
        levels = self.table.size if self.bits == 3 else 256 * 8 // self.bits
        return levels + (512 if self.outliers.stored else 0)

    def emit(self, builder: OnnxBuilder, name: str) -> str:
        """The name of an int8 tensor of the codes."""
        size = self.number.size
        if self.bits == 3:
            fields = _fields(builder, name, _rows(self.number), _FIELDS[3])
            index = builder.one("Cast", [fields], f"{name}.index", to=INT32)
            core = builder.one("Gather", [builder.constant("levels", self.table), index], f"{name}.levels", axis=0)
            core = builder.one("Reshape", [core, builder.shape([1, -1])], f"{name}.core")
        else:
            packed = pack_bits(self.number.ravel(), self.bits, interleaved=True)
            core = look_up(builder, f"{name}.core", packed, self.table)
        core = _cut(builder, name, core, size, 8 // math.gcd(8, self.bits))
        if self.outliers.stored:
            core = self.outliers.emit(builder, name, core)
        return builder.one("Reshape", [core, builder.shape(list(self.number.shape))], name)


def _pays(codes: NDArray[np.int8], bits: int, further: int, nodes: int) -> bool:
    """Whether codes take fewer bytes at their own width, with so many bytes beside them and nodes that unpack them."""
    return bits < 8 and codes.size * (8 - bits) // 8 >= further + NODE_BYTES * nodes


def _whole(builder: OnnxBuilder, name: str, codes: NDArray[np.int8], bits: int) -> str:
    """Whole numbers of other than 4 bits: int8, the shape of `codes`."""
    flat = _rows(codes)
    below = sum(_FIELDS[bits])
    fields = _fields(builder, name, flat.view(np.uint8) & np.uint8(2**below - 1), _FIELDS[bits])
    if bits > 4:
        upper = builder.one("Cast", [four_bits(builder, name, flat >> below)], f"{name}.uint8", to=UINT8)
        fields = builder.one("BitwiseOr", [_up(builder, upper, below, f"{name}.upper"), fields], f"{name}.code")
    result = builder.one("Cast", [fields], f"{name}.int8", to=INT8)
    if bits < 4:
        sign = builder.one("BitwiseAnd", [result, builder.scalar(2 ** (bits - 1), np.int8)], f"{name}.sign")
        spread = builder.one("Neg", [sign], f"{name}.spread")  # ones from the sign bit upwards
        result = builder.one("BitwiseOr", [result, spread], f"{name}.flat")
    if codes.size % 8:
        # Not 1-D: shape inference would take every element for a dimension.
        result = builder.one("Reshape", [result, builder.shape([1, -1])], f"{name}.padded")
        result = _cut(builder, name, result, codes.size, 8)
    return builder.one("Reshape", [result, builder.shape(list(codes.shape))], name)


def _cut(builder: OnnxBuilder, name: str, values: str, size: int, together: int) -> str:
    """[1, size] of values [1, ...] that are padded to a multiple of so many."""
    if size % together == 0:
        return values
    limits = [builder.shape([v]) for v in (0, size, 1)]
    return builder.one("Slice", [values, *limits], f"{name}.cut")


def _rows(values: NDArray[Any]) -> NDArray[Any]:
    """Values as they are while they are unpacked."""
    return np.pad(values.ravel(), (0, -values.size % 8)).reshape(_ROWS)


STORAGES: dict[WeightStorage, StoreWeight] = {"packed": store_packed, "int8": store_int8}


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

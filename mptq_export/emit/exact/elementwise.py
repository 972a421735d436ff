"""Products with constants and of two values, rotations, concatenations and maxima, in float32.

Every op rounds each element once, as IEEE 754 says, so that the result is the same everywhere. Nothing here is read by
a QuantizeLinear together with two DequantizeLinear, which onnxruntime would run as one op with roundings of its own.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from mptq_export.capture.graph import Node
from mptq_export.capture.ops import Concat, Max, Rotary
from mptq_export.emit.exact.forms import Floats

if TYPE_CHECKING:
    from mptq_export.emit.exact.emitter import Emitter

#: By how much float32 rounding can enlarge a sum of two products.
_ROUNDING = 1 + 2.0**-20


def emit_mul(emitter: "Emitter", node: Node, exponent: int) -> Floats:
    """A value times a constant."""
    source = emitter.full(emitter.floats(node.inputs[0], exponent), node.inputs[0])
    return _times(emitter, source, node.params["value"], f"{node.name}.x{exponent}")


def emit_product(emitter: "Emitter", node: Node, exponent: int) -> Floats:
    """A product of two values, of which one may be broadcast."""
    left, right = (emitter.floats(name, part) for name, part in zip(node.inputs, (exponent, 0), strict=True))
    alike = emitter.graph[node.inputs[0]].shape == emitter.graph[node.inputs[1]].shape
    if left.flat != right.flat or not alike:
        shaped = emitter.flat if alike else emitter.full
        left, right = (shaped(form, name) for form, name in zip((left, right), node.inputs, strict=True))
    tensor = emitter.onnx.one("Mul", [left.tensor, right.tensor], f"{node.name}.x{exponent}")
    return Floats(tensor, exponent, left.bound * right.bound * _ROUNDING, integer=False, flat=left.flat)


def emit_rotary(emitter: "Emitter", node: Node, exponent: int) -> Floats:
    """`x cos + swap(x) sin`."""
    onnx, name = emitter.onnx, f"{node.name}.x{exponent}"
    source = emitter.full(emitter.floats(node.inputs[0], exponent), node.inputs[0])
    cos, sin = (node.params[key] for key in ("cos", "sin"))
    swapped = _swapped(emitter, source.tensor, node, name)
    parts = [
        _times(emitter, replace(source, tensor=tensor), table, f"{name}.{part}")
        for part, tensor, table in (("cos", source.tensor, cos), ("sin", swapped, sin))
    ]
    tensor = onnx.one("Add", [part.tensor for part in parts], name)
    return Floats(tensor, exponent, sum(part.bound for part in parts) * _ROUNDING, integer=False, flat=False)


def emit_concat(emitter: "Emitter", node: Node, exponent: int) -> Floats:
    """Several values along an axis."""
    parts = [emitter.full(emitter.floats(name, exponent), name) for name in node.inputs]
    tensors = [part.tensor for part in parts]
    tensor = emitter.onnx.one("Concat", tensors, f"{node.name}.x{exponent}", axis=node.attributes(Concat).axis)
    whole = all(part.integer for part in parts)
    return Floats(tensor, exponent, max(part.bound for part in parts), integer=whole, flat=False)


def emit_max(emitter: "Emitter", node: Node, exponent: int) -> Floats:
    """The largest values along an axis: nothing is rounded."""
    source = emitter.full(emitter.floats(node.inputs[0], exponent), node.inputs[0])
    axes = emitter.onnx.shape([node.attributes(Max).axis])
    tensor = emitter.onnx.one("ReduceMax", [source.tensor, axes], f"{node.name}.x{exponent}", keepdims=1)
    return replace(source, tensor=tensor)


def _times(emitter: "Emitter", source: Floats, factor: torch.Tensor, name: str) -> Floats:
    value: NDArray[np.float32] = factor.numpy().astype(np.float32)
    tensor = emitter.onnx.one("Mul", [source.tensor, emitter.onnx.constant(f"{name}.factor", value)], name)
    bound = source.bound * float(np.abs(value).max()) * _ROUNDING
    return Floats(tensor, source.exponent, bound, integer=False, flat=source.flat)


def _swapped(emitter: "Emitter", tensor: str, node: Node, name: str) -> str:
    """The other coordinate of every plane."""
    onnx, width = emitter.onnx, node.shape.dims[-1]
    if not node.attributes(Rotary).pairs:
        halves = onnx.op("Split", [tensor, onnx.shape([width // 2] * 2)], f"{name}.halves", outputs=2, axis=-1)
        return onnx.one("Concat", halves[::-1], f"{name}.swapped", axis=-1)
    sizes = node.shape.dynamic()
    cut = onnx.reshape(tensor, [*sizes[:-1], width // 2, 2], f"{name}.planes")
    parts = onnx.op("Split", [cut, onnx.shape([1, 1])], f"{name}.coordinates", outputs=2, axis=-1)
    return onnx.reshape(onnx.one("Concat", parts[::-1], f"{name}.exchanged", axis=-1), sizes, f"{name}.swapped")

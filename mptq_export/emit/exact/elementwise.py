"""Products with constants and of two values, rotations, concatenations and maxima, in float32.

Every op rounds each element once, as IEEE 754 says, so that the result is the same everywhere. Nothing here is read by
a QuantizeLinear together with two DequantizeLinear, which onnxruntime would run as one op with roundings of its own.
"""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from mptq_export.capture.graph import Node
from mptq_export.capture.ops import Concat, Max, Rotary
from mptq_export.emit.exact.context import Context
from mptq_export.emit.exact.values import Floats

#: By how much float32 rounding can enlarge a sum of two products.
_ROUNDING = 1 + 2.0**-20


def emit_mul(context: Context, node: Node, exponent: int) -> Floats:
    """A value times a constant."""
    source = context.unflatten(context.read_floats(node.inputs[0], exponent), node.inputs[0])
    return _times(context, source, node.params["value"], f"{node.name}.x{exponent}")


def emit_product(context: Context, node: Node, exponent: int) -> Floats:
    """A product of two values, of which one may be broadcast."""
    left, right = context.read_floats(node.inputs[0], exponent), context.read_floats(node.inputs[1], 0)
    alike = context.graph[node.inputs[0]].shape == context.graph[node.inputs[1]].shape
    if left.flat != right.flat or not alike:
        shaped = context.flatten if alike else context.unflatten
        left, right = (shaped(value, name) for value, name in zip((left, right), node.inputs, strict=True))
    tensor = context.onnx.one("Mul", [left.tensor, right.tensor], f"{node.name}.x{exponent}")
    return Floats(tensor=tensor, exponent=exponent, bound=left.bound * right.bound * _ROUNDING, flat=left.flat)


def emit_rotary(context: Context, node: Node, exponent: int) -> Floats:
    """`x cos + swap(x) sin`."""
    onnx, name = context.onnx, f"{node.name}.x{exponent}"
    source = context.unflatten(context.read_floats(node.inputs[0], exponent), node.inputs[0])
    cos, sin = (node.params[key] for key in ("cos", "sin"))
    swapped = _swapped(context, source.tensor, node, name)
    left = _times(context, source, cos, f"{name}.cos")
    right = _times(context, replace(source, tensor=swapped), sin, f"{name}.sin")
    tensor = onnx.one("Add", [left.tensor, right.tensor], name)
    return Floats(tensor=tensor, exponent=exponent, bound=(left.bound + right.bound) * _ROUNDING, flat=False)


def emit_concat(context: Context, node: Node, exponent: int) -> Floats:
    """Several values along an axis."""
    values = [context.unflatten(context.read_floats(name, exponent), name) for name in node.inputs]
    tensors = [value.tensor for value in values]
    tensor = context.onnx.one("Concat", tensors, f"{node.name}.x{exponent}", axis=node.attributes(Concat).axis)
    bound, integer = max(value.bound for value in values), all(value.integer for value in values)
    return Floats(tensor=tensor, exponent=exponent, bound=bound, integer=integer, flat=False)


def emit_max(context: Context, node: Node, exponent: int) -> Floats:
    """The largest values along an axis: nothing is rounded."""
    source = context.unflatten(context.read_floats(node.inputs[0], exponent), node.inputs[0])
    axes = context.onnx.shape([node.attributes(Max).axis])
    tensor = context.onnx.one("ReduceMax", [source.tensor, axes], f"{node.name}.x{exponent}", keepdims=1)
    return replace(source, tensor=tensor)


def _times(context: Context, source: Floats, factor: torch.Tensor, name: str) -> Floats:
    value: NDArray[np.float32] = factor.numpy().astype(np.float32)
    tensor = context.onnx.one("Mul", [source.tensor, context.onnx.constant(f"{name}.factor", value)], name)
    bound = source.bound * float(np.abs(value).max()) * _ROUNDING
    return replace(source, tensor=tensor, bound=bound, integer=False)


def _swapped(context: Context, tensor: str, node: Node, name: str) -> str:
    """The other coordinate of every plane."""
    onnx, width = context.onnx, node.shape.dims[-1]
    if not node.attributes(Rotary).pairs:
        halves = onnx.op("Split", [tensor, onnx.shape([width // 2] * 2)], f"{name}.halves", outputs=2, axis=-1)
        return onnx.one("Concat", halves[::-1], f"{name}.swapped", axis=-1)
    sizes = node.shape.dynamic()
    cut = onnx.reshape(tensor, [*sizes[:-1], width // 2, 2], f"{name}.planes")
    pair = onnx.op("Split", [cut, onnx.shape([1, 1])], f"{name}.coordinates", outputs=2, axis=-1)
    return onnx.reshape(onnx.one("Concat", pair[::-1], f"{name}.exchanged", axis=-1), sizes, f"{name}.swapped")

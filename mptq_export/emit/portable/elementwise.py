"""Sums, products, concatenation, padding and pooling of values that have codes."""

from collections.abc import Sequence

from mptq_export.capture.graph import Node
from mptq_export.capture.ops import Concat, Max, Mean, Pad
from mptq_export.emit.portable.context import PortableContext
from mptq_export.emit.portable.values import Tensor


def emit_binary(op_type: str, context: PortableContext, node: Node) -> Tensor:
    """Add or Mul of two values, rows where both are rows."""
    values = [context.read(node, position) for position in range(2)]
    alike = all(context.graph[name].shape == node.shape for name in node.inputs)
    if alike and any(value.flat for value in values):
        values = [context.flatten(value, name) for value, name in zip(values, node.inputs, strict=True)]
    else:
        values = [context.unflatten(value, name) for value, name in zip(values, node.inputs, strict=True)]
    tensor = context.onnx.one(op_type, [value.tensor for value in values], node.name)
    return Tensor(tensor=tensor, flat=values[0].flat, quant=None)


def emit_mul(context: PortableContext, node: Node) -> Tensor:
    """A value times a constant."""
    x = context.read_full(node)
    factor = context.factor(node)
    return Tensor(tensor=context.onnx.one("Mul", [x.tensor, factor], node.name), flat=False, quant=None)


def emit_concat(context: PortableContext, node: Node) -> Tensor:
    """Several values along an axis."""
    values = [context.read_full(node, position).tensor for position in range(len(node.inputs))]
    tensor = context.onnx.one("Concat", values, node.name, axis=node.attributes(Concat).axis)
    return Tensor(tensor=tensor, flat=False, quant=None)


def emit_pad(context: PortableContext, node: Node) -> Tensor:
    """Zeros at the ends of an axis."""
    x, op = context.read_full(node), node.attributes(Pad)
    before, after = ([0] * len(node.shape.dims) for _ in range(2))
    before[op.axis], after[op.axis] = op.before, op.after
    inputs = [x.tensor, context.onnx.shape([*before, *after]), context.onnx.scalar(0.0)]
    return Tensor(tensor=context.onnx.one("Pad", inputs, node.name), flat=False, quant=None)


def emit_mean(context: PortableContext, node: Node) -> Tensor:
    """The mean over some axes."""
    x, op = context.read_full(node), node.attributes(Mean)
    tensor = reduced(context, "ReduceMean", x.tensor, node.name, axes=op.axes, keep=op.keepdim)
    return Tensor(tensor=tensor, flat=False, quant=None)


def emit_max(context: PortableContext, node: Node) -> Tensor:
    """The largest elements along an axis."""
    x, op = context.read_full(node), node.attributes(Max)
    tensor = reduced(context, "ReduceMax", x.tensor, node.name, axes=[op.axis], keep=True)
    return Tensor(tensor=tensor, flat=False, quant=None)


def reduced(context: PortableContext, op_type: str, x: str, name: str, *, axes: Sequence[int], keep: bool) -> str:
    """A reduction over axes, which became an input in opset 18."""
    if context.form.opset >= 18:
        return context.onnx.one(op_type, [x, context.onnx.shape(list(axes))], name, keepdims=int(keep))
    return context.onnx.one(op_type, [x], name, axes=list(axes), keepdims=int(keep))

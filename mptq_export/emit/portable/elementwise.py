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
    axis = node.attributes(Concat).axis - context.dropped(node.shape)
    tensor = context.onnx.one("Concat", values, node.name, axis=axis)
    return Tensor(tensor=tensor, flat=False, quant=None)


def emit_pad(context: PortableContext, node: Node) -> Tensor:
    """Zeros at the ends of an axis."""
    x, op = context.read_full(node), node.attributes(Pad)
    drop = context.dropped(node.shape)
    before, after = ([0] * (len(node.shape.dims) - drop) for _ in range(2))
    before[op.axis - drop], after[op.axis - drop] = op.before, op.after
    inputs = [x.tensor, context.onnx.shape([*before, *after]), context.onnx.scalar(0.0)]
    return Tensor(tensor=context.onnx.one("Pad", inputs, node.name), flat=False, quant=None)


def emit_mean(context: PortableContext, node: Node) -> Tensor:
    """The mean over some axes."""
    x, op = context.read_full(node), node.attributes(Mean)
    return _reduction(context, node, "ReduceMean", x, over=op)


def emit_max(context: PortableContext, node: Node) -> Tensor:
    """The largest elements along an axis."""
    x, op = context.read_full(node), node.attributes(Max)
    return _reduction(context, node, "ReduceMax", x, over=Mean((op.axis,), keepdim=True))


def _reduction(context: PortableContext, node: Node, op_type: str, x: Tensor, *, over: Mean) -> Tensor:
    """A reduction of a value, which may lack the axis of the one image; its result has it where the graph says so."""
    drop = context.dropped(context.graph[node.inputs[0]].shape)
    axes = [axis - drop for axis in over.axes]
    value = Tensor(
        tensor=reduced(context, op_type, x.tensor, node.name, axes=axes, keep=over.keepdim), flat=False, quant=None
    )
    if drop == context.dropped(node.shape):
        return value
    site = f"{node.name}.output"
    if context.where.has_result(node):
        value = context.coded(value, context.recipe.activations[site], site)
    return context.reshape(value, context.sizes(node.shape), f"{node.name}.full")


def reduced(context: PortableContext, op_type: str, x: str, name: str, *, axes: Sequence[int], keep: bool) -> str:
    """A reduction over axes, which became an input in opset 18."""
    if context.form.opset >= 18:
        return context.onnx.one(op_type, [x, context.onnx.shape(list(axes))], name, keepdims=int(keep))
    return context.onnx.one(op_type, [x], name, axes=list(axes), keepdims=int(keep))

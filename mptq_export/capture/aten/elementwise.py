"""ATen ops of single elements: sums, products, activation functions."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from mptq_export.capture.activations import FUNCTIONS
from mptq_export.capture.aten.arguments import arguments, axis_of, name_of
from mptq_export.capture.aten.movement import Stack
from mptq_export.capture.function_names import Function
from mptq_export.capture.graph import Node, Shape
from mptq_export.capture.metadata import module_path, shape_of
from mptq_export.capture.ops import Activation, Add, Constant, Mean, Mul, Product, Softmax
from mptq_export.capture.tracer import Tracer
from mptq_export.support.errors import MptqError


@dataclass(frozen=True)
class Gate:
    """A sigmoid that is to be multiplied by a value, its own argument or another; not a value of the graph.

    Attributes:
        name: of the sigmoid.
        of: canonical name of its argument.
    """

    name: str
    of: str


def _scalar_or_value(tracer: Tracer, node: fx.Node, arg: Any) -> str:
    if isinstance(arg, (int, float)):
        params = {"value": torch.tensor(float(arg))}
        return tracer.add(Constant(), name_of(node, "scalar"), (), Shape((), None), params)
    return tracer.value(arg)


def add(tracer: Tracer, node: fx.Node) -> str:
    """`a + b`; a number becomes a constant."""
    if node.kwargs.get("alpha", 1) != 1:
        raise MptqError(f"{module_path(node)}: add with alpha is not supported")
    pair = tuple(_scalar_or_value(tracer, node, a) for a in arguments(node)[:2])
    return tracer.add(Add(), name_of(node, "add"), pair, shape_of(node))


def sub(tracer: Tracer, node: fx.Node) -> str:
    """`a - b = a + (-1) b`."""
    first, second = arguments(node)[:2]
    if isinstance(second, fx.Node) and not tracer.is_constant(second):
        negative = {"value": torch.tensor(-1.0)}
        name = name_of(node, "negative")
        other = tracer.add(Mul(), name, (tracer.value(second),), shape_of(second), negative)
    else:
        offset = -tracer.constant(second) if isinstance(second, fx.Node) else torch.tensor(-float(second))
        name, params = name_of(node, "offset"), {"value": offset}
        other = tracer.add(Constant(), name, (), Shape(tuple(offset.shape), None), params)
    return tracer.add(Add(), name_of(node, "sub"), (_scalar_or_value(tracer, node, first), other), shape_of(node))


def neg(tracer: Tracer, node: fx.Node) -> str:
    """`-x`."""
    return times_constant(tracer, node, arguments(node)[0], torch.tensor(-1.0))


def addcmul(tracer: Tracer, node: fx.Node) -> str:
    """`bias + a * b` with a constant factor: an affine map of the channels."""
    bias, first, second = arguments(node)[:3]
    source, factor = (first, second) if tracer.is_constant(second) else (second, first)
    scaled = times_constant(tracer, node, source, tracer.constant(factor))
    return tracer.add(Add(), name_of(node, "add"), (scaled, tracer.value(bias)), shape_of(node))


def sum_of(tracer: Tracer, node: fx.Node) -> str | torch.Tensor:
    """A sum over the axis along which values were stacked: a chain of additions. One that weights fix is a constant."""
    source, axes, keep = arguments(node)[:3]
    stack = tracer.values[source]
    if isinstance(stack, str) and list(axes) in ([-1], [len(tracer.by_name[stack].shape.dims) - 1]):
        rows = _row_sums(tracer, tracer.by_name[stack])
        if rows is not None:
            return rows if keep else rows.squeeze(-1)
    if isinstance(stack, str):
        return _total(tracer, node, stack)
    if not isinstance(stack, Stack) or list(axes) != [stack.axis]:
        raise MptqError(f"{module_path(node)}: a sum over {axes} is not supported")
    total = tracer.value(stack.parts[0])
    for part in stack.parts[1:]:
        total = tracer.add(Add(), name_of(node, "add"), (total, tracer.value(part)), shape_of(node))
    return total


def _total(tracer: Tracer, node: fx.Node, value: str) -> str:
    """A sum over axes of a value, as their mean times a number."""
    shape, keep = tracer.by_name[value].shape, bool(arguments(node)[2])
    axes = tuple(axis_of(int(axis), len(shape.dims)) for axis in arguments(node)[1])
    if shape.batch_axis in axes:
        raise MptqError(f"{module_path(node)}: a sum over the batch is not supported")
    mean = tracer.add(Mean(axes, keep), name_of(node, "mean"), (value,), shape_of(node))
    params = {"value": torch.tensor(float(math.prod(shape.dims[axis] for axis in axes)))}
    return tracer.add(Mul(), name_of(node, "sum"), (mean,), shape_of(node), params)


def _row_sums(tracer: Tracer, node: Node) -> torch.Tensor | None:
    """Sums over the last axis, kept, of softmax and of what constants make of it; None where images change them."""
    if isinstance(node.op, Softmax):
        return torch.ones([1] * len(node.shape.dims))
    if isinstance(node.op, Constant):
        return node.params["value"].sum(-1, keepdim=True)
    if not isinstance(node.op, Add | Mul):
        return None
    parts = [part for name in node.inputs if (part := _row_sums(tracer, tracer.by_name[name])) is not None]
    if len(parts) < len(node.inputs):
        return None
    if isinstance(node.op, Add):
        return parts[0] + parts[1]
    factor = node.params["value"]
    return parts[0] * factor if factor.shape[-1:] in ((), (1,)) else None


def times_constant(tracer: Tracer, node: fx.Node, source: Any, factor: torch.Tensor) -> str:
    """`x * factor`."""
    params, held = {"value": factor.float()}, tracer.values[source]
    value = _opened(tracer, held) if isinstance(held, Gate) else tracer.value(source)
    return tracer.add(Mul(), name_of(node, "mul"), (value,), shape_of(node), params)


def multiply(tracer: Tracer, node: fx.Node) -> str:
    """Multiplication by a constant (LayerScale, the scale of q), or of two activations (gated units)."""
    first, second = arguments(node)[:2]
    for source, factor in ((first, second), (second, first)):
        if isinstance(factor, (int, float)):
            return times_constant(tracer, node, source, torch.tensor(float(factor)))
        if tracer.is_constant(factor):
            return times_constant(tracer, node, source, tracer.constant(factor))
        if isinstance(tracer.values[factor], Gate):
            return _gated(tracer, node, source, tracer.values[factor])
    pair = (tracer.value(first), tracer.value(second))
    return tracer.add(Product(), name_of(node, "product"), pair, shape_of(node))


def gate(tracer: Tracer, node: fx.Node) -> str | Gate:
    """A sigmoid, held back where only products read it: most are part of an activation function."""
    if any(user.target is not torch.ops.aten.mul.Tensor for user in node.users):
        return activation(tracer, node)
    return Gate(name_of(node, "sigmoid"), tracer.value(arguments(node)[0]))


def _gated(tracer: Tracer, node: fx.Node, source: fx.Node, gate: Gate) -> str:
    """`x * sigmoid(slope * x)` as one activation where its slope has a name; else a product with a sigmoid."""
    x, inner, slope = tracer.value(source), tracer.by_name[gate.of], 1.0
    if inner.name != x and isinstance(inner.op, Mul) and inner.params["value"].numel() == 1:
        slope, inner = float(inner.params["value"]), tracer.by_name[inner.inputs[0]]
    for function, record in FUNCTIONS.items():
        if inner.name == x and record.slope is not None and abs(slope - record.slope) < 1e-6:
            return _activation(tracer, node, x, function)
    return tracer.add(Product(), name_of(node, "product"), (x, _opened(tracer, gate)), shape_of(node))


def _opened(tracer: Tracer, gate: Gate) -> str:
    """The sigmoid of a gate by itself."""
    return tracer.add(Activation("sigmoid"), gate.name, (gate.of,), tracer.by_name[gate.of].shape)


def activation(tracer: Tracer, node: fx.Node) -> str:
    """An ATen op that is an activation function (`ActivationFunction.aten`)."""
    approximate = node.kwargs.get("approximate", "none")
    function = next(
        name for name, record in FUNCTIONS.items() if node.target in record.aten and record.approximate == approximate
    )
    return _activation(tracer, node, tracer.value(arguments(node)[0]), function)


def _activation(tracer: Tracer, node: fx.Node, source: str, function: Function) -> str:
    name = name_of(node, function.removesuffix("_tanh"))
    return tracer.add(Activation(function), name, (source,), shape_of(node))

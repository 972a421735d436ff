"""ATen ops of single elements: sums, products, activation functions."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from mptq_export.capture.activations import FUNCTIONS
from mptq_export.capture.aten.arguments import arguments, axis_of, keyword, name_of
from mptq_export.capture.aten.movement import Stack
from mptq_export.capture.aten.repeated import Meeting, elementwise, times
from mptq_export.capture.aten.statistics import Statistic, normalised, shifted
from mptq_export.capture.function_names import Function
from mptq_export.capture.graph import Node
from mptq_export.capture.metadata import module_path, shape_of
from mptq_export.capture.ops import Activation, Add, Constant, Mean, Mul, Product, Relu, Softmax
from mptq_export.capture.tracer import Tracer
from mptq_export.support.errors import MptqError

#: What may make one activation of a sigmoid and its own argument.
_PRODUCTS = (torch.ops.aten.mul.Tensor, torch.ops.aten.mul_.Tensor)


@dataclass(frozen=True)
class Gate:
    """A sigmoid that is to be multiplied by a value, its own argument or another; not a value of the graph.

    Attributes:
        name: of the sigmoid.
        of: canonical name of its argument.
    """

    name: str
    of: str


def add(tracer: Tracer, node: fx.Node) -> "str | Statistic":
    """`a + alpha b`; a number becomes a constant."""
    first, second = arguments(node)[:2]
    for squares, eps in ((first, second), (second, first)):
        if isinstance(squares, fx.Node) and isinstance(tracer.values[squares], Statistic):
            return shifted(tracer, node, tracer.values[squares], eps)
    return _sum(tracer, node, first, second, float(keyword(node, "alpha", 1)))


def sub(tracer: Tracer, node: fx.Node) -> str:
    """`a - alpha b = a + (-alpha) b`."""
    first, second = arguments(node)[:2]
    return _sum(tracer, node, first, second, -float(keyword(node, "alpha", 1)))


def rsub(tracer: Tracer, node: fx.Node) -> str:
    """`b - alpha a`."""
    first, second, alpha = arguments(node)[:3]
    return _sum(tracer, node, second, first, -float(keyword(node, "alpha", 1) if alpha is None else alpha))


def _sum(tracer: Tracer, node: fx.Node, first: Any, second: Any, factor: float) -> str:
    """`first + factor * second`."""
    # A runtime leaves out a sum with 0, and so keeps the sign of a zero.
    if not isinstance(second, fx.Node) and second == 0:
        return tracer.value(first)
    if not isinstance(first, fx.Node) and first == 0:
        return tracer.value(second) if factor == 1 else times(tracer, node, second, factor)
    if factor == 1:
        return elementwise(tracer, node, Add(), "add", (first, second))
    meeting = Meeting(tracer, node, (first, second))
    other = meeting.operand(second, factor)
    return meeting.result(Add(), "sub", (meeting.operand(first), other))


def lerp(tracer: Tracer, node: fx.Node) -> str:
    """`a + w (b - a)`, where the weight w is a number or a constant."""
    first, second, weight = arguments(node)[:3]
    if isinstance(weight, fx.Node):
        if not tracer.is_constant(weight):
            raise MptqError(f"{module_path(node)}: lerp with a weight that images decide is not supported")
        weight = tracer.constant(weight)
    weight = torch.as_tensor(weight, dtype=torch.float32)
    parts = (times(tracer, node, first, 1 - weight), times(tracer, node, second, weight))
    return tracer.add(Add(), name_of(node, "lerp"), parts, shape_of(node))


def neg(tracer: Tracer, node: fx.Node) -> str:
    """`-x`."""
    return times(tracer, node, arguments(node)[0], -1.0)


def addcmul(tracer: Tracer, node: fx.Node) -> str:
    """`bias + a * b` with a constant factor: an affine map of the channels."""
    bias, first, second = arguments(node)[:3]
    source, factor = (first, second) if tracer.is_constant(second) else (second, first)
    scaled = times(tracer, node, source, factor)
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


def multiply(tracer: Tracer, node: fx.Node) -> str:
    """Multiplication by a constant (LayerScale, the scale of q), or of two activations (gated units)."""
    first, second = arguments(node)[:2]
    for source, factor in ((first, second), (second, first)):
        if isinstance(factor, (int, float)) or tracer.is_constant(factor):
            if isinstance(tracer.values[source], Gate):
                tracer.values[source] = _opened(tracer, tracer.values[source])
            return times(tracer, node, source, factor)
        if isinstance(tracer.values[factor], Gate):
            return _gated(tracer, node, source, tracer.values[factor])
        if isinstance(tracer.values[factor], Statistic):
            return normalised(tracer, node, source, tracer.values[factor], "inverse")
    return elementwise(tracer, node, Product(), "product", (first, second))


def gate(tracer: Tracer, node: fx.Node) -> "str | Gate":
    """A sigmoid; held back where only products read it."""
    if any(user.target not in _PRODUCTS for user in node.users):
        return _activation(tracer, node, tracer.value(arguments(node)[0]), "sigmoid")
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


def relu(tracer: Tracer, node: fx.Node) -> str:
    """`max(x, 0)`."""
    return _relu(tracer, node, tracer.value(arguments(node)[0]))


def leaky_relu(tracer: Tracer, node: fx.Node) -> str:
    """`max(x, s x) = s x + (1 - s) relu(x)` for a slope s of at most 1."""
    value, slope, shape = tracer.value(arguments(node)[0]), arguments(node)[1], shape_of(node)
    slope = 0.01 if slope is None else float(slope)
    positive = _relu(tracer, node, value)
    parts = tuple(
        tracer.add(Mul(), name_of(node, name), (part,), shape, {"value": torch.tensor(factor)})
        for name, part, factor in (("slope", value, slope), ("rest", positive, 1 - slope))
    )
    return tracer.add(Add(), name_of(node, "leaky_relu"), parts, shape)


def _relu(tracer: Tracer, node: fx.Node, source: str) -> str:
    return tracer.add(Relu(), name_of(node, "relu"), (source,), shape_of(node))


def _activation(tracer: Tracer, node: fx.Node, source: str, function: Function) -> str:
    name = name_of(node, function.removesuffix("_tanh"))
    return tracer.add(Activation(function), name, (source,), shape_of(node))

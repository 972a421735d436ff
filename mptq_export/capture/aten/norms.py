"""ATen ops that normalise or average."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from mptq_export.capture.aten.arguments import arguments, axis_of, name_of
from mptq_export.capture.aten.movement import permuted
from mptq_export.capture.aten.repeated import times
from mptq_export.capture.aten.statistics import Square, Statistic, mean_of_squares, normalised
from mptq_export.capture.graph import NCHW, NHWC, Shape
from mptq_export.capture.metadata import module_path, shape_of
from mptq_export.capture.ops import Add, Constant, LayerNorm, Mean, Mul, Permute, Reshape
from mptq_export.capture.tracer import Tracer
from mptq_export.support.errors import MptqError

#: Stands for the smallest length that a vector is divided by: far below any step, and above zero.
_TINY = 1e-24


@dataclass(frozen=True)
class Length:
    """The Euclidean length of the rows of a value, not a value of the graph."""

    of: fx.Node


def layer_norm(tracer: Tracer, node: fx.Node) -> str:
    """Layer norm over the last axis."""
    args = arguments(node)
    return _norm(tracer, node, args[2], args[3], LayerNorm(1e-5 if args[4] is None else float(args[4])))


def rms_norm(tracer: Tracer, node: fx.Node) -> str:
    """RMS norm over the last axis: a layer norm that subtracts no mean."""
    args = arguments(node)
    eps = torch.finfo(torch.float32).eps if args[3] is None else float(args[3])
    return _norm(tracer, node, args[2], None, LayerNorm(eps, centered=True))


def group_norm(tracer: Tracer, node: fx.Node) -> str:
    """A norm over groups of channels and all positions: a layer norm without gain over each, then gain and offset."""
    source, groups, weight, bias, given = arguments(node)[:5]
    eps = 1e-5 if given is None else float(given)
    dims = shape_of(node).dims
    if len(dims) != 4:
        raise MptqError(f"{module_path(node)}: a group norm of {len(dims)} axes is not supported, only of 4")
    batch, channels, height, width = dims
    positions, group = height * width, channels // groups
    value = permuted(tracer, name_of(node, "nhwc"), tracer.value(source), NHWC)
    split = Shape((batch, positions, groups, group), 0)
    value = tracer.add(Reshape(), name_of(node, "split"), (value,), split)
    value = permuted(tracer, name_of(node, "groups"), value, (0, 2, 1, 3))
    rows = Shape((batch, groups, positions * group), 0)
    value = tracer.add(Reshape(), name_of(node, "rows"), (value,), rows)
    value = tracer.add(LayerNorm(eps, plain=True), module_path(node), (value,), rows)
    value = tracer.add(Reshape(), name_of(node, "positions"), (value,), Shape((batch, groups, positions, group), 0))
    value = permuted(tracer, name_of(node, "channels"), value, (0, 2, 1, 3))
    nhwc = Shape((batch, height, width, channels), 0)
    value = tracer.add(Reshape(), name_of(node, "map"), (value,), nhwc)
    gain = torch.ones(channels) if weight is None else tracer.constant(weight)
    value = tracer.add(Mul(), name_of(node, "gain"), (value,), nhwc, {"value": gain})
    if bias is not None:
        offset = {"value": tracer.constant(bias)}
        constant = tracer.add(Constant(), name_of(node, "offset"), (), Shape((channels,), None), offset)
        value = tracer.add(Add(), name_of(node, "shifted"), (value, constant), nhwc)
    return permuted(tracer, name_of(node, "nchw"), value, NCHW)


def batch_norm(tracer: Tracer, node: fx.Node) -> str:
    """Batch norm in eval mode: an affine map of every channel (axis 1), which a pass folds into what writes it."""
    source, weight, bias, mean, variance, training, _, eps = arguments(node)[:8]
    if training:
        raise MptqError(
            f"{module_path(node)}: batch norm normalises by the images of a batch and so mixes them; put the model in "
            "eval mode and give the norm running statistics"
        )
    spread = (tracer.constant(variance).double() + float(eps)).rsqrt()
    gain = spread if weight is None else spread * tracer.constant(weight).double()
    offset = -tracer.constant(mean).double() * gain
    offset = offset if bias is None else offset + tracer.constant(bias).double()
    column = [-1, *[1] * (len(shape_of(node).dims) - 2)]
    scaled = times(tracer, node, source, gain.float().reshape(column))
    params = {"value": offset.float().reshape(column)}
    shift = tracer.add(Constant(), name_of(node, "offset"), (), Shape(tuple(params["value"].shape), None), params)
    return tracer.add(Add(), name_of(node, "shifted"), (scaled, shift), shape_of(node))


def _norm(tracer: Tracer, node: fx.Node, weight: fx.Node | None, bias: fx.Node | None, op: LayerNorm) -> str:
    """A norm over the last axis."""
    source, axes = arguments(node)[:2]
    if len(axes) != 1:
        raise MptqError(f"{module_path(node)}: a norm over {axes} must be over the last axis only")
    width = int(axes[-1])
    params = {
        "weight": torch.ones(width) if weight is None else tracer.constant(weight),
        "bias": torch.zeros(width) if bias is None else tracer.constant(bias),
    }
    inputs = (tracer.value(source),)
    return tracer.add(op, module_path(node), inputs, shape_of(node), params)


def div(tracer: Tracer, node: fx.Node) -> str:
    """Division by a number, a constant, or the length of the vector itself."""
    divisor = arguments(node)[1]
    if isinstance(divisor, fx.Node) and isinstance(tracer.values[divisor], Length):
        return _normalised(tracer, node, tracer.values[divisor])
    if isinstance(divisor, fx.Node) and isinstance(tracer.values[divisor], Statistic):
        return normalised(tracer, node, arguments(node)[0], tracer.values[divisor], "root")
    if isinstance(divisor, fx.Node) and tracer.is_constant(divisor):
        return times(tracer, node, arguments(node)[0], 1.0 / tracer.constant(divisor))
    if not isinstance(divisor, (int, float)):
        raise MptqError(f"{module_path(node)}: division by an activation is not supported")
    return times(tracer, node, arguments(node)[0], 1.0 / float(divisor))


def length(tracer: Tracer, node: fx.Node) -> Length:
    """Euclidean length over the last axis; only a division of the vector itself by it may read it."""
    args = arguments(node)
    order, axes, keep = args[1], args[2], args[3]
    rank = len(shape_of(node).dims)
    if (2 if order is None else order) != 2 or not keep or [axis_of(int(a), rank) for a in axes] != [rank - 1]:
        raise MptqError(f"{module_path(node)}: only the Euclidean norm over the last axis is supported")
    return Length(args[0])


def same_length(tracer: Tracer, node: fx.Node) -> Any:
    """`clamp_min` and `expand` of a length; the smallest length is far below any step of a quantizer."""
    value = tracer.values[arguments(node)[0]]
    if not isinstance(value, Length):
        raise MptqError(f"{module_path(node)}: {node.target} is not supported here")
    return value


def _normalised(tracer: Tracer, node: fx.Node, length: Length) -> str:
    """`x / |x|` is an RMS norm with gamma = 1 / sqrt(D)."""
    source, width = arguments(node)[0], shape_of(node).dims[-1]
    if tracer.value(source) != tracer.value(length.of):
        raise MptqError(f"{module_path(node)}: division by the length of another value is not supported")
    params = {"weight": torch.full((width,), width**-0.5), "bias": torch.zeros(width)}
    return tracer.add(
        LayerNorm(_TINY, centered=True), name_of(node, "unit"), (tracer.value(source),), shape_of(node), params
    )


def mean(tracer: Tracer, node: fx.Node) -> "str | Statistic":
    """A mean over tokens, or over a channels-first map."""
    if isinstance(tracer.values[arguments(node)[0]], Square):
        return mean_of_squares(tracer, node)
    shape = shape_of(arguments(node)[0])
    axes = tuple(axis_of(int(a), len(shape.dims)) for a in arguments(node)[1])
    if shape.batch_axis in axes:
        raise MptqError(f"{module_path(node)}: a mean over the batch is not supported")
    keep = bool(arguments(node)[2]) if len(node.args) > 2 else False
    source = tracer.value(arguments(node)[0])
    turned = tracer.by_name[source]
    if isinstance(turned.op, Permute) and len(axes) == 1 and len(shape.dims) == 3 and not keep:
        rest = [turned.op.perm[axis] for axis in range(3) if axis not in axes]
        if rest == sorted(rest):  # the axis is known before it was moved, and nothing else was
            axes, source = (turned.op.perm[axes[0]],), turned.inputs[0]
    return tracer.add(Mean(axes, keep), name_of(node, "mean"), (source,), shape_of(node))

"""Norms that a model writes out: `(x - mean(x)) / sqrt(var(x) + eps)` and `x rsqrt(mean(x^2) + eps)`.

Squares, variances and their roots are no values of the graph: they are held back until a division by one of them, or a
product with its inverse, makes a norm. Its axis becomes the last one, and goes back behind it.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import fx

from mptq_export.capture.aten.arguments import arguments, axis_of, keyword, name_of
from mptq_export.capture.aten.movement import permuted
from mptq_export.capture.metadata import module_path, shape_of
from mptq_export.capture.ops import Add, LayerNorm, Mean, Mul, Product
from mptq_export.capture.tracer import Tracer
from mptq_export.support.errors import MptqError

aten = torch.ops.aten

_MEANS = (aten.mean.dim,)

Form = Literal["square", "root", "inverse"]


@dataclass(frozen=True)
class Square:
    """`x^2`, of which only a mean is taken; not a value of the graph.

    Attributes:
        of: canonical name of x.
    """

    of: str


@dataclass(frozen=True)
class Statistic:
    """A mean of squares along an axis, which stays with size one, or what is made of it; not a value of the graph.

    Attributes:
        of: canonical name of x.
        axis: counted from the front.
        centred: whether the mean of x is subtracted first.
        eps: added to it.
        form: `square`, its `root`, or one over its root, the `inverse`.
        share: the squares are divided by so many times their number: 1 - 1 / n for an unbiased variance.
    """

    of: str
    axis: int
    centred: bool
    eps: float = 0.0
    form: Form = "square"
    share: float = 1.0


def power(tracer: Tracer, node: fx.Node) -> str | Square | Statistic:
    """`x^2`: held back for a mean, else a product."""
    source, exponent = arguments(node)[:2]
    statistic = tracer.values[source]
    if isinstance(statistic, Statistic) and statistic.form == "square" and exponent in (0.5, -0.5):
        return replace(statistic, form="root" if exponent > 0 else "inverse")
    if exponent not in (2, None):
        raise MptqError(f"{module_path(node)}: the power {exponent} of an activation is not supported")
    name = tracer.value(source)
    if all(user.target in _MEANS for user in node.users):
        return Square(name)
    return tracer.add(Product(), name_of(node, "square"), (name, name), shape_of(node))


def mean_of_squares(tracer: Tracer, node: fx.Node) -> Statistic:
    """The mean of what `power` held back."""
    source, axes, keep = arguments(node)[:3]
    axis = _one_axis(node, source, axes, keep)
    name = tracer.values[source].of
    whole = _with_mean(tracer, name, axis)
    return Statistic(name if whole is None else whole, axis, centred=whole is not None)


def variance(tracer: Tracer, node: fx.Node) -> Statistic:
    """`var` over one axis."""
    source, axes, unbiased, keep = arguments(node)[:4]
    keep = keyword(node, "keepdim", keep)
    corrected = keyword(node, "correction", 1) if node.target is aten.var.correction else unbiased
    axis = _one_axis(node, source, axes, keep)
    fewer = 1 if corrected is None else float(corrected)
    share = 1 - fewer / shape_of(source).dims[axis]
    return Statistic(tracer.value(source), axis, centred=True, share=share)


def _one_axis(node: fx.Node, source: fx.Node, axes: Any, keep: Any) -> int:
    rank = len(shape_of(source).dims)
    listed = [axis_of(int(axis), rank) for axis in (axes if isinstance(axes, (list, tuple)) else [axes])]
    if len(listed) != 1 or not keep or listed[0] == shape_of(source).batch_axis:
        raise MptqError(f"{module_path(node)}: a variance over {axes} is not supported, only over one axis that stays")
    return listed[0]


def shifted(tracer: Tracer, node: fx.Node, statistic: Statistic, eps: Any) -> Statistic:
    """A small number more."""
    if not isinstance(eps, (int, float)) or statistic.form != "square":
        raise MptqError(
            f"{module_path(node)}: {node.target} of a standard deviation is not supported; a norm that adds its eps to "
            "the variance is"
        )
    return replace(statistic, eps=statistic.eps + float(eps))


def root(tracer: Tracer, node: fx.Node) -> Statistic:
    """`sqrt`, `rsqrt` and `reciprocal` of a variance."""
    statistic = tracer.values[arguments(node)[0]]
    form: Form = "root" if node.target is aten.sqrt.default else "inverse"
    needed = "root" if node.target is aten.reciprocal.default else "square"
    if not isinstance(statistic, Statistic) or statistic.form != needed:
        raise MptqError(f"{module_path(node)}: {node.target} is supported in a norm only")
    return replace(statistic, form=form)


def normalised(tracer: Tracer, node: fx.Node, source: fx.Node, statistic: Statistic, form: Form) -> str:
    """The norm: `source` over the root of its own squares."""
    name, axis = tracer.value(source), statistic.axis
    whole = _with_mean(tracer, name, axis)
    centred = whole is not None and whole == statistic.of and statistic.centred
    if statistic.form != form or not (centred or (name == statistic.of and not statistic.centred)):
        raise MptqError(f"{module_path(node)}: division by the standard deviation of another value is not supported")
    shape = tracer.by_name[statistic.of].shape
    rest = [other for other in range(len(shape.dims)) if other != axis]
    perm = (*rest, axis)
    width = shape.dims[axis]
    # x / sqrt(v / share + eps) = sqrt(share) x / sqrt(v + share eps)
    gain = math.sqrt(statistic.share)
    params = {"weight": torch.full((width,), gain), "bias": torch.zeros(width)}
    value = permuted(tracer, name_of(node, "turned"), statistic.of, perm)
    norm = LayerNorm(statistic.share * statistic.eps, centered=not statistic.centred)
    value = tracer.add(norm, name_of(node, "norm"), (value,), tracer.by_name[value].shape, params)
    return permuted(tracer, name_of(node, "turned_back"), value, tuple(perm.index(i) for i in range(len(perm))))


def _with_mean(tracer: Tracer, name: str, axis: int) -> str | None:
    """The x of `x - mean(x)` along an axis; None where a value is something else."""
    total = tracer.by_name[name]
    if not isinstance(total.op, Add):
        return None
    negative = tracer.by_name[total.inputs[1]]
    if not isinstance(negative.op, Mul) or not bool((negative.params["value"] == -1).all()):
        return None
    mean = tracer.by_name[negative.inputs[0]]
    same = isinstance(mean.op, Mean) and mean.op == Mean((axis,), keepdim=True) and mean.inputs[0] == total.inputs[0]
    return total.inputs[0] if same else None

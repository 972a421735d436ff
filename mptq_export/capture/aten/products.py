"""ATen ops that become matmuls, and what stands between two of them."""

from typing import cast

import torch
from torch import fx

from mptq_export.capture.aten.arguments import arguments, axis_of, name_of
from mptq_export.capture.aten.movement import permuted
from mptq_export.capture.graph import Shape
from mptq_export.capture.metadata import module_path, shape_of
from mptq_export.capture.ops import Add, Linear, Matmul, Softmax
from mptq_export.capture.tracer import Tracer
from mptq_export.support.errors import MptqError


def linear(tracer: Tracer, node: fx.Node) -> str:
    """`x W^T + b`."""
    weight = tracer.constant(arguments(node)[1])
    bias = arguments(node)[2] if len(node.args) > 2 else None
    params = {"weight": weight, "bias": torch.zeros(weight.shape[0]) if bias is None else tracer.constant(bias)}
    return tracer.add(Linear(), module_path(node), (tracer.value(arguments(node)[0]),), shape_of(node), params)


def matmul(tracer: Tracer, node: fx.Node) -> str:
    """A product of two values."""
    pair = (tracer.value(arguments(node)[0]), tracer.value(arguments(node)[1]))
    return tracer.add(Matmul(), name_of(node, "matmul"), pair, shape_of(node))


def einsum(tracer: Tracer, node: fx.Node) -> str:
    """A product that sums over one axis, as a matmul between permutations.

    Its first letters are in both operands or in the first one alone, the last of both is summed over, and the one
    before it belongs to one operand alone, as in `bhwc,hkc->bhwk`.
    """
    equation, operands = str(arguments(node)[0]).replace(" ", ""), arguments(node)[1]
    inputs, _, out = equation.partition("->")
    left, _, right = inputs.partition(",")
    summed = [letter for letter in left if letter in right and letter not in out]
    shared = [letter for letter in left if letter in right and letter in out]
    rows, columns = ([letter for letter in one if letter not in other] for one, other in ((left, right), (right, left)))
    alone = sorted(left) == sorted(set(left)) and sorted(right) == sorted(set(right))
    if not alone or not rows or (len(summed), len(columns)) != (1, 1) or not set(rows + columns) <= set(out):
        raise MptqError(f"{module_path(node)}: the product {equation} is not supported")
    orders = ("".join([*rows[:-1], *shared, rows[-1], *summed]), "".join([*shared, *summed, *columns]))
    name = name_of(node, "ordered")
    pair = tuple(
        permuted(tracer, name, tracer.value(operand), tuple(letters.index(letter) for letter in order))
        for operand, letters, order in zip(operands, (left, right), orders, strict=True)
    )
    made = orders[0][:-1] + columns[0]
    shape = shape_of(node)
    dims = tuple(shape.dims[out.index(letter)] for letter in made)
    batch = None if shape.batch_axis is None else made.index(out[shape.batch_axis])
    value = tracer.add(Matmul(), name_of(node, "einsum"), pair, Shape(dims, batch))
    return permuted(tracer, name, value, tuple(made.index(letter) for letter in out))


def softmax(tracer: Tracer, node: fx.Node) -> str:
    """Softmax; the axis that it is over becomes the last one, and goes back behind it."""
    value, rank = tracer.value(arguments(node)[0]), len(shape_of(node).dims)
    perm = list(range(rank))
    axis = axis_of(int(arguments(node)[1]), rank)
    if axis == shape_of(node).batch_axis:
        raise MptqError(f"{module_path(node)}: softmax over the batch is not supported")
    perm[axis], perm[-1] = perm[-1], perm[axis]
    value = permuted(tracer, name_of(node, "turned"), value, tuple(perm))
    value = tracer.add(Softmax(), name_of(node, "softmax"), (value,), tracer.by_name[value].shape)
    return permuted(tracer, name_of(node, "turned_back"), value, tuple(perm))


def attention(tracer: Tracer, node: fx.Node) -> str:
    """scaled_dot_product_attention(q, k, v, mask) = softmax(scale q k^T + mask) v."""
    q, k, v = arguments(node)[:3]
    mask = arguments(node)[3] if len(node.args) > 3 else node.kwargs.get("attn_mask")
    if (len(node.args) > 5 and arguments(node)[5]) or node.kwargs.get("is_causal"):
        raise MptqError(f"{module_path(node)}: causal attention is not supported")
    q_shape, k_shape = shape_of(q), shape_of(k)
    scale = node.kwargs.get("scale")
    alpha = float(cast(float, scale)) if scale is not None else q_shape.dims[-1] ** -0.5
    rank = len(k_shape.dims)
    perm = (*range(rank - 2), rank - 1, rank - 2)
    key = permuted(tracer, name_of(node, "k_transposed"), tracer.value(k), perm)
    scores = Shape((*q_shape.dims[:-1], k_shape.dims[-2]), q_shape.batch_axis)
    value = tracer.add(Matmul(alpha), name_of(node, "scores"), (tracer.value(q), key), scores)
    if mask is not None:
        value = tracer.add(Add(), name_of(node, "scores_masked"), (value, tracer.value(mask)), scores)
    value = tracer.add(Softmax(), name_of(node, "softmax"), (value,), scores)
    return tracer.add(Matmul(), name_of(node, "context"), (value, tracer.value(v)), shape_of(node))

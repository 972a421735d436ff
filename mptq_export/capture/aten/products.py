"""ATen ops that become matmuls, and what stands between two of them."""

import torch
from torch import fx

from mptq_export.capture.aten.arguments import arguments, axis_of, keyword, name_of
from mptq_export.capture.aten.masks import causal, masked_scores
from mptq_export.capture.aten.movement import permuted
from mptq_export.capture.aten.repeated import Meeting
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
    return product(tracer, node, *arguments(node)[:2])


def product(tracer: Tracer, node: fx.Node, first: fx.Node, second: fx.Node, alpha: float = 1.0) -> str:
    """`alpha a b`; with a constant matrix b it is a linear layer."""
    right = tracer.values[second]
    if isinstance(right, torch.Tensor) and right.dim() == 2:
        params = {"weight": alpha * right.float().T.contiguous(), "bias": torch.zeros(right.shape[1])}
        return tracer.add(Linear(), name_of(node, "matmul"), (tracer.value(first),), shape_of(node), params)
    meeting = Meeting(tracer, node, (first, second))
    return meeting.result(Matmul(alpha), "matmul", (meeting.operand(first), meeting.operand(second)))


def added_product(tracer: Tracer, node: fx.Node) -> str:
    """`baddbmm` and `addmm`: `beta c + alpha a b`."""
    added, first, second = arguments(node)[:3]
    beta, alpha = (float(keyword(node, name, 1)) for name in ("beta", "alpha"))
    value = product(tracer, node, first, second, alpha)
    if beta == 0:
        return value
    meeting = Meeting(tracer, node, (added,))
    return meeting.result(Add(), "added", (meeting.value(value), meeting.operand(added, beta)))


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
    mask = arguments(node)[3] if len(node.args) > 3 else keyword(node, "attn_mask")
    is_causal = arguments(node)[5] if len(node.args) > 5 else keyword(node, "is_causal")
    if keyword(node, "enable_gqa"):
        raise MptqError(f"{module_path(node)}: attention with fewer heads of keys than of queries is not supported")
    q_shape, k_shape = shape_of(q), shape_of(k)
    scale = keyword(node, "scale")
    alpha = float(scale) if scale is not None else q_shape.dims[-1] ** -0.5
    rank = len(k_shape.dims)
    perm = (*range(rank - 2), rank - 1, rank - 2)
    key = permuted(tracer, name_of(node, "k_transposed"), tracer.value(k), perm)
    scores = Shape((*q_shape.dims[:-1], k_shape.dims[-2]), q_shape.batch_axis)
    value = tracer.add(Matmul(alpha), name_of(node, "scores"), (tracer.value(q), key), scores)
    if is_causal:
        value = causal(tracer, node, value)
    if mask is not None:
        value = masked_scores(tracer, node, value, mask)
    value = tracer.add(Softmax(), name_of(node, "softmax"), (value,), scores)
    return tracer.add(Matmul(), name_of(node, "context"), (value, tracer.value(v)), shape_of(node))

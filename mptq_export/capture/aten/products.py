"""ATen ops that become matmuls, and what stands between two of them."""

from typing import cast

import torch
from torch import fx

from mptq_export.capture.aten.arguments import arguments, axis_of, name_of
from mptq_export.capture.graph import Shape
from mptq_export.capture.trace import Tracer, module_path, shape_of
from mptq_export.errors import MptqError


def patch_embed(tracer: Tracer, node: fx.Node) -> str:
    """Convolution whose windows tile the image: a linear layer over patches."""
    args = arguments(node)
    weight = tracer.constant(args[1])
    kernel = list(weight.shape[2:])
    stride = list(args[3] or [1, 1])
    if stride != kernel or any(args[4] or [0]) or (args[6] or 1) != 1:
        raise MptqError(
            f"{module_path(node)}: a convolution of kernel {kernel} and stride {stride} is not a patch embedding; "
            "overlapping, padded or grouped convolutions are not supported"
        )
    out = shape_of(node).dims
    height, width = tracer.shape(args[0]).dims[2:]
    if out[2] * kernel[0] != height or out[3] * kernel[1] != width:
        raise MptqError(f"{module_path(node)}: the {height}x{width} is no multiple of the patch {kernel}")
    bias = tracer.constant(args[2]) if args[2] is not None else torch.zeros(weight.shape[0])
    nhwc = tracer.add(
        "patch_embed",
        module_path(node),
        (tracer.value(args[0]),),
        Shape((1, out[2], out[3], out[1])),
        {"patch": tuple(kernel)},
        {"weight": weight, "bias": bias},
    )
    return tracer.add("permute", name_of(node, "nchw"), (nhwc,), shape_of(node), {"perm": (0, 3, 1, 2)})


def linear(tracer: Tracer, node: fx.Node) -> str:
    """`x W^T + b`."""
    weight = tracer.constant(arguments(node)[1])
    bias = arguments(node)[2] if len(node.args) > 2 else None
    params = {"weight": weight, "bias": torch.zeros(weight.shape[0]) if bias is None else tracer.constant(bias)}
    return tracer.add("linear", module_path(node), (tracer.value(arguments(node)[0]),), shape_of(node), {}, params)


def matmul(tracer: Tracer, node: fx.Node) -> str:
    """A product of two values."""
    pair = (tracer.value(arguments(node)[0]), tracer.value(arguments(node)[1]))
    return tracer.add("matmul", name_of(node, "matmul"), pair, shape_of(node), {"alpha": 1.0})


def softmax(tracer: Tracer, node: fx.Node) -> str:
    """Softmax over the last axis."""
    if axis_of(int(arguments(node)[1]), len(shape_of(node).dims)) != len(shape_of(node).dims) - 1:
        raise MptqError(f"{module_path(node)}: softmax must be over the last axis")
    return tracer.add("softmax", name_of(node, "softmax"), (tracer.value(arguments(node)[0]),), shape_of(node))


def attention(tracer: Tracer, node: fx.Node) -> str:
    """scaled_dot_product_attention(q, k, v, mask) = softmax(scale q k^T + mask) v."""
    q, k, v = arguments(node)[:3]
    mask = arguments(node)[3] if len(node.args) > 3 else node.kwargs.get("attn_mask")
    if (len(node.args) > 5 and arguments(node)[5]) or node.kwargs.get("is_causal"):
        raise MptqError(f"{module_path(node)}: causal attention is not supported")
    q_shape, k_shape = tracer.shape(q), tracer.shape(k)
    scale = node.kwargs.get("scale")
    alpha = float(cast(float, scale)) if scale is not None else q_shape.dims[-1] ** -0.5
    k_t = Shape((*k_shape.dims[:-2], k_shape.dims[-1], k_shape.dims[-2]), k_shape.batch_axis)
    rank = len(k_t.dims)
    perm = (*range(rank - 2), rank - 1, rank - 2)
    key = tracer.add("permute", name_of(node, "k_transposed"), (tracer.value(k),), k_t, {"perm": perm})
    scores = Shape((*q_shape.dims[:-1], k_shape.dims[-2]), q_shape.batch_axis)
    value = tracer.add("matmul", name_of(node, "scores"), (tracer.value(q), key), scores, {"alpha": alpha})
    if mask is not None:
        value = tracer.add("add", name_of(node, "scores_masked"), (value, tracer.value(mask)), scores)
    value = tracer.add("softmax", name_of(node, "softmax"), (value,), scores)
    return tracer.add("matmul", name_of(node, "context"), (value, tracer.value(v)), shape_of(node), {"alpha": 1.0})

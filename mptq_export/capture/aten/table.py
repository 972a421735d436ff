"""The table from ATen ops to their handlers."""

from typing import Any

import torch
from torch import fx

from mptq_export.capture.activations import FUNCTIONS
from mptq_export.capture.aten import convolutions, elementwise, movement, norms, pooling, products, resizing, transposed
from mptq_export.capture.aten.arguments import arguments
from mptq_export.capture.tracer import Handler, Tracer

aten = torch.ops.aten


def _identity(tracer: Tracer, node: fx.Node) -> Any:
    return tracer.values[arguments(node)[0]]


HANDLERS: dict[Any, Handler] = {
    **{op: elementwise.activation for function in FUNCTIONS.values() for op in function.aten},
    **dict.fromkeys(FUNCTIONS["sigmoid"].aten, elementwise.gate),
    aten._upsample_bicubic2d_aa.vec: resizing.interpolate,
    aten._upsample_bilinear2d_aa.vec: resizing.interpolate,
    aten._upsample_nearest_exact2d.vec: resizing.interpolate,
    aten.adaptive_avg_pool2d.default: pooling.adaptive_average_pool,
    aten.add.Tensor: elementwise.add,
    aten.add_.Tensor: elementwise.add,
    aten.addcmul.default: elementwise.addcmul,
    aten.alias.default: _identity,
    aten.amax.default: pooling.amax,
    aten.avg_pool2d.default: pooling.average_pool,
    aten.batch_norm.default: norms.batch_norm,
    aten.bmm.default: products.matmul,
    aten.cat.default: movement.concat,
    aten.chunk.default: movement.split,
    aten.clamp_min.default: norms.same_length,
    aten.clone.default: _identity,
    aten.col2im.default: convolutions.col2im,
    aten.contiguous.default: _identity,
    aten.conv1d.default: convolutions.conv1d,
    aten.conv2d.default: convolutions.conv2d,
    aten.conv2d.padding: convolutions.conv2d,
    aten.conv_transpose2d.input: transposed.conv_transpose2d,
    aten.copy_.default: movement.copy,
    aten.detach.default: _identity,
    aten.div.Tensor: norms.div,
    aten.div_.Tensor: norms.div,
    aten.dropout.default: _identity,
    aten.dropout_.default: _identity,
    aten.einsum.default: products.einsum,
    aten.expand_as.default: norms.expand_as,
    aten.feature_dropout.default: _identity,
    aten.flatten.using_ints: movement.reshape,
    aten.group_norm.default: norms.group_norm,
    aten.im2col.default: convolutions.im2col,
    aten.layer_norm.default: norms.layer_norm,
    aten.linalg_vector_norm.default: norms.length,
    aten.linear.default: products.linear,
    aten.matmul.default: products.matmul,
    aten.max_pool2d.default: pooling.max_pool,
    aten.max.dim: pooling.largest,
    aten.mean.dim: norms.mean,
    aten.mul.Tensor: elementwise.multiply,
    aten.neg.default: elementwise.neg,
    aten.pad.default: pooling.pad,
    aten.permute.default: movement.permute,
    aten.pixel_shuffle.default: movement.pixel_shuffle,
    aten.repeat_interleave.self_int: movement.repeat_interleave,
    aten.reshape.default: movement.reshape,
    aten.reshape_as.default: movement.reshape,
    aten.rms_norm.default: norms.rms_norm,
    aten.roll.default: movement.roll,
    aten.scaled_dot_product_attention.default: products.attention,
    aten.select.int: movement.select,
    aten.slice.Tensor: movement.slice_of,
    aten.softmax.int: products.softmax,
    aten.split.Tensor: movement.split,
    aten.split_with_sizes.default: movement.split,
    aten.squeeze.dim: movement.reshape,
    aten.stack.default: movement.stack,
    aten.sub.Tensor: elementwise.sub,
    aten.sum.dim_IntList: elementwise.sum_of,
    aten.to.dtype: _identity,
    aten.transpose.int: movement.transpose,
    aten.type_as.default: _identity,
    aten.unbind.int: movement.unbind,
    aten.unflatten.int: movement.reshape,
    aten.unsqueeze.default: movement.reshape,
    aten.upsample_bicubic2d.vec: resizing.interpolate,
    aten.upsample_bilinear2d.vec: resizing.interpolate,
    aten.upsample_nearest2d.vec: resizing.interpolate,
    aten.view.default: movement.reshape,
}

"""Layers with weights: Gemm of rows, Conv of the image and of maps, with per-channel codes and an int32 bias."""

from dataclasses import replace

import numpy as np
import onnx
from numpy.typing import NDArray

from mptq_export.capture.graph import Node
from mptq_export.capture.ops import Depthwise, Matmul, PatchEmbed, Permute, Reshape, Slice, Windows
from mptq_export.emit.portable.context import PortableContext
from mptq_export.emit.portable.maps import channels_first, channels_last, is_channels_first_already
from mptq_export.emit.portable.stored_weight import dequantized
from mptq_export.emit.portable.strides import within_stride
from mptq_export.emit.portable.values import Tensor
from mptq_export.recipe.schema import WeightQuant

#: Accumulators are int32; a bias beyond is cut.
_INT32 = 2**31 - 1


def emit_linear(context: PortableContext, node: Node) -> Tensor:
    """A linear layer as one Gemm over rows, [rows, K] and [K, N]; over windows of a map as a convolution."""
    read = context.graph[node.inputs[0]]
    if isinstance(read.op, Windows):
        return _conv_of_windows(context, node, read)
    if is_channels_first_already(context, read.name):
        return _conv(context, node, channels_first(context, node, read.name), Windows())
    x = context.read_rows(node)
    quant = context.recipe.weights[node.name]
    nibbles = not (context.form.bytes_behind_movement and _wide(x) and _is_moved(context, node))
    weight = _weight(context, node, np.ascontiguousarray(quant.codes.T), axis=1, nibbles=nibbles)
    inputs = [x.tensor, weight, _bias(context, node, x)]
    return Tensor(tensor=context.onnx.one("Gemm", inputs, node.name), flat=True, quant=None)


def _wide(x: Tensor) -> bool:
    return x.quant is not None and x.quant.bits == 16


def _is_moved(context: PortableContext, node: Node) -> bool:
    """Whether what a layer reads was moved by more than a reshape, a cut from the first element on, or out of heads."""
    root, chain = context.graph.path(node.inputs[0])
    heads = isinstance(root.op, Matmul)
    return not all(
        isinstance(step.op, Reshape)
        or (isinstance(step.op, Slice) and step.op.start == 0)
        or (isinstance(step.op, Permute) and heads)
        for step in chain
    )


def emit_patch_embed(context: PortableContext, node: Node) -> Tensor:
    """A patch embedding as one Conv, channels last behind it: [B, H / ph, W / pw, D]."""
    patch = node.attributes(PatchEmbed).patch
    return _conv(context, node, context.read_full(node), Windows(kernel=patch, stride=patch))


def emit_depthwise(context: PortableContext, node: Node) -> Tensor:
    """A depthwise convolution of a map that has its channels last."""
    op, value = node.attributes(Depthwise), node.inputs[0]
    windows = Windows(kernel=op.kernel, stride=op.stride, pads=op.pads, dilation=op.dilation)
    groups = context.graph[value].shape.dims[-1]
    return _conv(context, node, channels_first(context, node, value), windows, groups=groups)


def _conv_of_windows(context: PortableContext, node: Node, read: Node) -> Tensor:
    """A layer over all windows of a map; a map that repeats its edge is padded first."""
    windows, value = read.attributes(Windows), read.inputs[0]
    x = channels_first(context, node, value)
    if windows.edge:
        top, left, bottom, right = windows.pads
        counts = context.onnx.shape([0, 0, top, left, 0, 0, bottom, right])
        x = context.moved(x, lambda t: context.onnx.one("Pad", [t, counts], f"{read.name}.padded", mode="edge"))
        windows = replace(windows, pads=(0, 0, 0, 0), edge=False)
    return _conv(context, node, x, windows)


def _conv(context: PortableContext, node: Node, x: Tensor, windows: Windows, groups: int = 1) -> Tensor:
    """A convolution of [B, C, H, W]; what it gives has the channels last."""
    quant = context.recipe.weights[node.name]
    channels = quant.codes.shape[1] // (windows.kernel[0] * windows.kernel[1])
    kernels = quant.codes.reshape(-1, *windows.kernel, channels).transpose(0, 3, 1, 2)
    x, kernels, windows = within_stride(context, node, x, kernels, windows)
    weight = _weight(context, node, np.ascontiguousarray(kernels), axis=0)
    tensor = context.onnx.one(
        "Conv",
        [x.tensor, weight, _bias(context, node, x)],
        node.name,
        kernel_shape=list(windows.kernel),
        strides=list(windows.stride),
        pads=list(windows.pads),
        dilations=list(windows.dilation),
        group=groups,
    )
    return channels_last(context, node, tensor)


def _weight(context: PortableContext, node: Node, codes: NDArray[np.int8], *, axis: int, nibbles: bool = True) -> str:
    """Codes behind a DequantizeLinear with a scale for each output channel: of 4 bits where they are, or in bytes."""
    quant, name = context.recipe.weights[node.name], context.weight_names[node.name]
    if nibbles and quant.bits == 4 and context.form.opset >= 21:
        stored = context.onnx.initializer(int4_tensor(f"{name}.codes", codes))
        zero = context.onnx.initializer(int4_tensor(f"{name}.zero_point", np.zeros(len(quant.scale), np.int8)))
        scale = context.onnx.constant(f"{name}.scale", quant.scale)
        return context.onnx.one("DequantizeLinear", [stored, scale, zero], name, axis=axis)
    return dequantized(context, name, codes, quant.scale, axis=axis)


def int4_tensor(name: str, codes: NDArray[np.int8]) -> onnx.TensorProto:
    """Codes from -8 to 7 as an INT4 tensor of the same shape, two a byte, the first in the low bits."""
    flat = (codes.ravel() & np.int8(15)).astype(np.uint8)
    pairs = np.pad(flat, (0, -len(flat) % 2)).reshape(-1, 2)
    raw = (pairs[:, 0] | pairs[:, 1] << 4).astype(np.uint8).tobytes()
    return onnx.helper.make_tensor(name, onnx.TensorProto.INT4, codes.shape, raw, raw=True)


def _bias(context: PortableContext, node: Node, x: Tensor) -> str:
    """Whole steps of the accumulator behind a DequantizeLinear; a float where the target or the input has none."""
    quant, name = context.recipe.weights[node.name], f"{node.name}.bias"
    if x.quant is None or not context.form.bias_codes:
        return context.onnx.constant(name, quant.bias)
    steps = quant.bias.astype(np.float64) / bias_scale(quant, x.quant.scale).astype(np.float64)
    stored = np.clip(np.rint(steps), -_INT32, _INT32).astype(np.int32)
    inputs = [
        context.onnx.own_constant(f"{name}.codes", stored),
        context.onnx.constant(f"{name}.scale", bias_scale(quant, x.quant.scale)),
        context.onnx.constant(f"{name}.zero_point", np.zeros(len(stored), np.int32)),
    ]
    return context.onnx.one("DequantizeLinear", inputs, name, axis=0)


def bias_scale(quant: WeightQuant, input_scale: float) -> NDArray[np.float32]:
    """What a step of each channel's accumulator stands for: float32 [N]."""
    return (quant.scale * np.float32(input_scale)).astype(np.float32)

"""ATen convolutions and windows: data movement, and a linear layer over every window."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import fx

from mptq_export.capture.aten.arguments import arguments, name_of
from mptq_export.capture.aten.movement import permuted, sliced, windows
from mptq_export.capture.graph import NCHW, NHWC, Shape
from mptq_export.capture.metadata import module_path, shape_of
from mptq_export.capture.ops import Add, Concat, Depthwise, Input, Linear, PatchEmbed, Reshape, Slice, Windows
from mptq_export.capture.tracer import Tracer
from mptq_export.support.errors import MptqError


def conv2d(tracer: Tracer, node: fx.Node) -> str:
    """A convolution: a patch embedding where it tiles the image, depthwise, or a linear layer over windows of a map."""
    args = arguments(node)
    weight = tracer.constant(args[1])
    bias = tracer.constant(args[2]) if args[2] is not None else torch.zeros(weight.shape[0])
    cut = _windows_of(pair(weight.shape[2:]), pair(args[3] or 1), args[4] or 0, pair(args[5] or 1))
    groups = int(args[6] or 1)
    source = tracer.value(args[0])
    tiled = _tiles(shape_of(args[0]).dims[2:], cut)
    out = shape_of(node)
    rows = Shape((out.dims[0], *out.dims[2:], out.dims[1]), out.batch_axis)
    if isinstance(tracer.by_name[source].op, Input) and tiled and groups == 1:
        params = {"weight": weight, "bias": bias}
        nhwc = tracer.add(PatchEmbed(cut.kernel), module_path(node), (source,), rows, params)
    elif groups > 1 and weight.shape[1] == 1:
        params = {"weight": weight.flatten(1), "bias": bias}
        image = channels_last(tracer, node, args[0])
        op = Depthwise(cut.kernel, cut.stride, cut.pads, cut.dilation)
        nhwc = tracer.add(op, module_path(node), (image,), rows, params)
    else:
        image = channels_last(tracer, node, args[0])
        nhwc = _grouped(tracer, node, image, _Convolution(weight, bias, cut, groups), rows)
    return permuted(tracer, name_of(node, "nchw"), nhwc, NCHW)


def _windows_of(kernel: tuple[int, int], stride: tuple[int, int], padding: Any, dilation: tuple[int, int]) -> Windows:
    """The windows of a convolution; `padding` is a number, two, or torch's word for them."""
    bare = Windows(kernel, stride, dilation=dilation)
    if padding == "same":  # what is odd goes behind
        (top, left), (rows, columns) = ((reach - 1) // 2 for reach in bare.reach), bare.reach
        pads = (top, left, rows - 1 - top, columns - 1 - left)
    else:
        pads = (*pair(0 if padding == "valid" else padding),) * 2
    return replace(bare, pads=pads)


def conv1d(tracer: Tracer, node: fx.Node) -> str:
    """A convolution along one axis with a kernel of one: a linear layer over the channels."""
    args = arguments(node)
    weight = tracer.constant(args[1])
    bias = tracer.constant(args[2]) if args[2] is not None else torch.zeros(weight.shape[0])
    same_length = shape_of(node).dims[2] == shape_of(args[0]).dims[2]
    if weight.shape[2] != 1 or not same_length or (args[6] or 1) != 1:
        raise MptqError(f"{module_path(node)}: a convolution along one axis is supported with a kernel of one only")
    batch, channels, length = shape_of(node).dims
    value = permuted(tracer, name_of(node, "rows"), tracer.value(args[0]), (0, 2, 1))
    params = {"weight": weight.flatten(1), "bias": bias}
    shape = Shape((batch, length, channels), shape_of(node).batch_axis)
    value = tracer.add(Linear(), module_path(node), (value,), shape, params)
    return permuted(tracer, name_of(node, "columns"), value, (0, 2, 1))


@dataclass(frozen=True)
class _Convolution:
    """A convolution as torch has it.

    Attributes:
        weight: [D, C / groups, kh, kw].
        bias: [D].
        cut: the windows that it reads.
        groups: how many parts of the channels are convolved apart.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    cut: Windows
    groups: int


def _grouped(tracer: Tracer, node: fx.Node, image: str, layer: _Convolution, rows: Shape) -> str:
    """A linear layer for every group of channels; [B, oh, ow, D]."""
    weight, bias, groups = layer.weight, layer.bias, layer.groups
    width = weight.shape[1]
    parts = []
    for group in range(groups):
        part = image
        if groups > 1:
            dims = (*tracer.by_name[image].shape.dims[:-1], width)
            own_channels = Slice(3, group * width, (group + 1) * width)
            part = tracer.add(own_channels, name_of(node, f"group{group}"), (image,), Shape(dims, 0))
        cut = _windows_or_tiles(tracer, node, part, layer.cut)
        own = slice(group * len(bias) // groups, (group + 1) * len(bias) // groups)
        tensors = {"weight": weight[own].permute(0, 2, 3, 1).flatten(1), "bias": bias[own]}
        shape = Shape((*rows.dims[:-1], len(bias[own])), rows.batch_axis)
        name = module_path(node) if groups == 1 else name_of(node, f"linear{group}")
        parts.append(tracer.add(Linear(), name, (cut,), shape, tensors))
    return parts[0] if groups == 1 else tracer.add(Concat(axis=3), module_path(node), tuple(parts), rows)


def im2col(tracer: Tracer, node: fx.Node) -> str:
    """`unfold`: the windows of a map, each a column of [B, C * kh * kw, windows]."""
    args = arguments(node)
    kernel, dilation, padding, stride = (pair(arg) for arg in args[1:5])
    if dilation != (1, 1):
        raise MptqError(f"{module_path(node)}: dilated windows are not supported; build the model with dilation 1")
    cut = Windows(kernel, stride, (*padding, *padding))
    value = _windows_or_tiles(tracer, node, channels_last(tracer, node, args[0]), cut)
    batch, height, width, _ = tracer.by_name[value].shape.dims
    channels = shape_of(args[0]).dims[1]
    split = Shape((batch, height * width, kernel[0] * kernel[1], channels), 0)
    value = tracer.add(Reshape(), name_of(node, "split"), (value,), split)
    value = permuted(tracer, name_of(node, "columns"), value, (0, 3, 2, 1))
    return tracer.add(Reshape(), name_of(node, "im2col"), (value,), shape_of(node))


def col2im(tracer: Tracer, node: fx.Node) -> str:
    """`fold`, the transpose of `im2col`: windows are laid over a map, and what overlaps is added up."""
    args = arguments(node)
    kernel, dilation, padding, stride = (pair(arg) for arg in args[2:6])
    if dilation != (1, 1) or len(shape_of(node).dims) != 4:
        raise MptqError(f"{module_path(node)}: a fold with dilation is not supported; build the model with dilation 1")
    batch, channels, height, width = shape_of(node).dims
    counts = [(s + 2 * p - k) // t + 1 for s, p, k, t in zip((height, width), padding, kernel, stride, strict=True)]
    taps = kernel[0] * kernel[1]
    split = Shape((batch, channels, taps, counts[0], counts[1]), 0)
    cut = tracer.add(Reshape(), name_of(node, "split"), (tracer.value(args[0]),), split)
    cut = permuted(tracer, name_of(node, "taps"), cut, (0, 3, 4, 2, 1))
    total = ""
    for tap in range(taps):
        shape = Shape((batch, *counts, 1, channels), 0)
        one = tracer.add(Slice(3, tap, tap + 1), name_of(node, f"tap{tap}"), (cut,), shape)
        offsets = (tap // kernel[1] - padding[0], tap % kernel[1] - padding[1])
        one = _laid(tracer, node, one, stride, offsets)
        shape = Shape((batch, height, width, channels), 0)
        total = tracer.add(Add(), name_of(node, "fold"), (total, one), shape) if total else one
    return permuted(tracer, name_of(node, "nchw"), total, NCHW)


def _laid(tracer: Tracer, node: fx.Node, value: str, stride: tuple[int, int], offsets: tuple[int, int]) -> str:
    """Elements laid onto a map of zeros, `stride` apart from `offsets` on.

    Args:
        tracer: gets the nodes.
        node: the fold, which gives a map [B, C, height, width].
        value: [B, rows, columns, 1, C].
        stride: steps down and to the right from one element to the next.
        offsets: where the first one lies; it may be outside the map.

    Returns:
        The name of a value [B, height, width, C].
    """
    batch, rows, columns, _, depth = tracer.by_name[value].shape.dims
    sizes = shape_of(node).dims[2:]
    # Zeros behind each element, along the width: those of a row are one element there once it is laid.
    for count, step, inner in ((rows * columns, stride[1], depth), (rows, stride[0], columns * stride[1] * depth)):
        shape = Shape((batch, count, 1, inner), 0)
        value = tracer.add(Reshape(), name_of(node, "apart"), (value,), shape)
        if step > 1:
            value = windows(tracer, name_of(node, "zeros"), value, Windows(pads=(0, 0, 0, step - 1)))
    laid = (rows * stride[0], columns * stride[1])
    value = tracer.add(Reshape(), name_of(node, "laid"), (value,), Shape((batch, *laid, depth), 0))
    top, left = (max(offset, 0) for offset in offsets)
    first_row, first_column = (max(-offset, 0) for offset in offsets)
    bottom = max(sizes[0] + first_row - top - laid[0], 0)
    right = max(sizes[1] + first_column - left - laid[1], 0)
    value = windows(tracer, name_of(node, "margin"), value, Windows(pads=(top, left, bottom, right)))
    for axis, start in ((1, first_row), (2, first_column)):
        dims, size = tracer.by_name[value].shape.dims, sizes[axis - 1]
        if dims[axis] != size:
            cut = Shape((*dims[:axis], size, *dims[axis + 1 :]), 0)
            value = tracer.add(Slice(axis, start, start + size), name_of(node, "inside"), (value,), cut)
    return value


def zero_pad(tracer: Tracer, node: fx.Node) -> str:
    """Zeros around the two axes of a map, or less of it; on other axes only padding by nothing is supported."""
    args = arguments(node)
    counts, dims = [int(count) for count in args[1]], shape_of(args[0]).dims
    if not any(counts):
        return tracer.value(args[0])
    ends = [(counts[i : i + 2] if i < len(counts) else [0, 0]) for i in range(0, 2 * len(dims), 2)][::-1]
    padded = [axis for axis, counted in enumerate(ends) if any(counted)]
    first = 2 if padded[-1] == 3 else 1
    zeros = (args[2] or "constant") == "constant" and not args[3]
    if len(dims) != 4 or not set(padded) <= {first, first + 1} or not zeros:
        raise MptqError(
            f"{module_path(node)}: padding {list(dims)} by {counts} is not supported, only by zeros around a map"
        )
    (top, bottom), (left, right) = ends[first : first + 2]
    image = channels_last(tracer, node, args[0]) if first == 2 else tracer.value(args[0])
    pads = Windows(pads=(max(top, 0), max(left, 0), max(bottom, 0), max(right, 0)))
    result = windows(tracer, name_of(node, "pad"), image, pads)
    for axis, (before, after) in ((1, (top, bottom)), (2, (left, right))):  # what is negative is cut off
        shape = tracer.by_name[result].shape
        low, high = max(-before, 0), shape.dims[axis] - max(-after, 0)
        if (low, high) != (0, shape.dims[axis]):
            result = sliced(tracer, node, result, shape, Slice(axis, low, high))
    return result if first == 1 else permuted(tracer, name_of(node, "nchw"), result, NCHW)


def _windows_or_tiles(tracer: Tracer, node: fx.Node, image: str, cut: Windows) -> str:
    """All windows of an NHWC map, by reshapes and a permutation where they tile it."""
    if _tiles(tracer.by_name[image].shape.dims[1:3], cut):
        return _tiles_of(tracer, node, image, cut.kernel)
    return windows(tracer, name_of(node, "windows"), image, cut)


def channels_last(tracer: Tracer, node: fx.Node, source: Any) -> str:
    """An NCHW value as NHWC."""
    rank = len(shape_of(source).dims)
    if rank != 4:
        raise MptqError(f"{module_path(node)}: a convolution of {rank} axes is not supported, only of 4")
    return permuted(tracer, name_of(node, "nhwc"), tracer.value(source), NHWC)


def _tiles_of(tracer: Tracer, node: fx.Node, image: str, kernel: tuple[int, int]) -> str:
    """Windows that tile the map: reshapes and a permutation, which later passes can merge with others."""
    batch, height, width, depth = tracer.by_name[image].shape.dims
    if kernel == (1, 1):
        return image
    rows, columns = height // kernel[0], width // kernel[1]
    split = Shape((batch, rows, kernel[0], columns, kernel[1], depth), 0)
    cut = tracer.add(Reshape(), name_of(node, "tiles"), (image,), split)
    cut = permuted(tracer, name_of(node, "tiles_together"), cut, (0, 1, 3, 2, 4, 5))
    merged = Shape((batch, rows, columns, kernel[0] * kernel[1] * depth), 0)
    return tracer.add(Reshape(), name_of(node, "windows"), (cut,), merged)


def _tiles(sizes: tuple[int, ...], cut: Windows) -> bool:
    """Whether windows cut a map of this height and width without gaps, overlap or rest."""
    fits = all(size % k == 0 for size, k in zip(sizes, cut.kernel, strict=True))
    return fits and cut == Windows(cut.kernel, cut.kernel)


def pair(value: Any) -> tuple[int, int]:
    """A number or one or two numbers of ATen as two."""
    values = [int(v) for v in value] if isinstance(value, (tuple, list, torch.Size)) else [int(value)]
    return values[0], values[-1]

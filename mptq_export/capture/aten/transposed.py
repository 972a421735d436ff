"""Transposed convolutions: a linear layer over windows that gives a block of the result each (sub-pixel convolution).

With stride s, `y[z - p] = sum_i x[i] w[z - s i]`, the rows z = s q, ..., s q + s - 1 read the same m = ceil(k / s)
elements x[q - m + 1], ..., x[q], each through every s-th element of the kernel. So one layer over windows of m x m
gives all s x s phases, and blocks are laid side by side by data movement. Where the kernel is as large as the stride, m
is 1: nothing overlaps.
"""

import torch
from torch import fx

from mptq_export.capture.aten.arguments import arguments, name_of
from mptq_export.capture.aten.convolutions import channels_last, pair
from mptq_export.capture.aten.movement import permuted, windows
from mptq_export.capture.graph import NCHW, Shape
from mptq_export.capture.metadata import module_path, shape_of
from mptq_export.capture.ops import Linear, Reshape, Slice, Windows
from mptq_export.capture.tracer import Tracer
from mptq_export.support.errors import MptqError


def conv_transpose2d(tracer: Tracer, node: fx.Node) -> str:
    """A transposed convolution of one group, of any kernel, stride and padding."""
    args = arguments(node)
    if pair(args[7] or 1) != (1, 1) or int(args[6] or 1) != 1:
        raise MptqError(f"{module_path(node)}: a transposed convolution with groups or dilation is not supported")
    weight = tracer.constant(args[1])
    bias = tracer.constant(args[2]) if args[2] is not None else torch.zeros(weight.shape[1])
    stride, padding = pair(args[3] or 1), pair(args[4] or 0)
    batch, depth, *sizes = shape_of(node).dims
    taps = [-(-k // s) for k, s in zip(weight.shape[2:], stride, strict=True)]
    # The blocks that hold rows of the result, each named after the last row of x that it reads.
    ends = [(p // s, (p + size - 1) // s) for p, size, s in zip(padding, sizes, stride, strict=True)]
    value = _cut(tracer, node, channels_last(tracer, node, args[0]), taps, ends)
    counts = [last - first + 1 for first, last in ends]
    params = {"weight": _phases(weight, stride, taps), "bias": bias.repeat(stride[0] * stride[1])}
    made = Shape((batch, *counts, stride[0] * stride[1] * depth), 0)
    value = tracer.add(Linear(), module_path(node), (value,), made, params)
    apart = Shape((batch, *counts, *stride, depth), 0)
    value = tracer.add(Reshape(), name_of(node, "phases"), (value,), apart)
    value = permuted(tracer, name_of(node, "interleaved"), value, (0, 1, 3, 2, 4, 5))
    whole = [count * s for count, s in zip(counts, stride, strict=True)]
    value = tracer.add(Reshape(), name_of(node, "map"), (value,), Shape((batch, *whole, depth), 0))
    for axis, ((first, _), p, s, size) in enumerate(zip(ends, padding, stride, sizes, strict=True), 1):
        start = p - first * s
        value = _between(tracer, node, value, Slice(axis, start, start + size))
    return permuted(tracer, name_of(node, "nchw"), value, NCHW)


def _cut(tracer: Tracer, node: fx.Node, image: str, taps: list[int], ends: list[tuple[int, int]]) -> str:
    """The windows of a map, whose last rows and columns are those from the first to the second of `ends`, included."""
    pads = []
    for axis, (tap, (first, last)) in enumerate(zip(taps, ends, strict=True), 1):
        dims, start = tracer.by_name[image].shape.dims, first - tap + 1
        pads.append((max(-start, 0), max(last + 1 - dims[axis], 0)))  # zeros where they leave the map
        image = _between(tracer, node, image, Slice(axis, max(start, 0), min(last + 1, dims[axis])))
    (top, bottom), (left, right) = pads
    cut = Windows((taps[0], taps[1]), pads=(top, left, bottom, right))
    return image if cut == Windows() else windows(tracer, name_of(node, "windows"), image, cut)


def _between(tracer: Tracer, node: fx.Node, value: str, cut: Slice) -> str:
    """A part of an axis of a map; the map itself where that is all."""
    dims, size = tracer.by_name[value].shape.dims, cut.end - cut.start
    if dims[cut.axis] == size:
        return value
    shape = Shape((*dims[: cut.axis], size, *dims[cut.axis + 1 :]), 0)
    return tracer.add(cut, name_of(node, "inside"), (value,), shape)


def _phases(weight: torch.Tensor, stride: tuple[int, int], taps: list[int]) -> torch.Tensor:
    """[C, D, kh, kw] as a layer's [s_h * s_w * D, m_h * m_w * C]: the last element of a window meets the first taps."""
    channels, depth, *kernel = weight.shape
    padded = torch.zeros(channels, depth, taps[0] * stride[0], taps[1] * stride[1])
    padded[:, :, : kernel[0], : kernel[1]] = weight
    split = padded.reshape(channels, depth, taps[0], stride[0], taps[1], stride[1]).flip(2, 4)
    return split.permute(3, 5, 1, 2, 4, 0).reshape(stride[0] * stride[1] * depth, -1).contiguous()

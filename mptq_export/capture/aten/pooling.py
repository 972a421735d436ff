"""ATen ops that reduce a map or an axis to its mean or its largest values."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import fx

from mptq_export.capture.aten.arguments import arguments, axis_of, name_of
from mptq_export.capture.aten.convolutions import channels_last, pair, zero_pad
from mptq_export.capture.aten.movement import permuted, windows
from mptq_export.capture.aten.resizing import average_uneven
from mptq_export.capture.graph import NCHW, Shape
from mptq_export.capture.metadata import module_path, shape_from, shape_of
from mptq_export.capture.ops import Linear, Max, Mean, Mul, Reshape, Windows
from mptq_export.capture.tracer import Tracer
from mptq_export.support.errors import MptqError


@dataclass(frozen=True)
class Surrounded:
    """A map with minus infinity around it, which only max pooling may read; not a value of the graph."""

    of: fx.Node
    pads: tuple[int, int, int, int]


def adaptive_average_pool(tracer: Tracer, node: fx.Node) -> str:
    """Pooling of channels-first maps to a fixed size: means of tiles, else a linear map along each axis."""
    source, out = arguments(node)[0], shape_of(node)
    sizes, wanted = shape_of(source).dims[-2:], out.dims[-2:]
    if wanted == (1, 1):
        rank = len(out.dims)
        return tracer.add(Mean((rank - 2, rank - 1), keepdim=True), name_of(node, "mean"), (tracer.value(source),), out)
    if all(size % count == 0 for size, count in zip(sizes, wanted, strict=True)):
        kernel = sizes[0] // wanted[0], sizes[1] // wanted[1]
        return _mean_of_windows(tracer, node, Windows(kernel, kernel))
    return average_uneven(tracer, node)


def adaptive_average_pool1d(tracer: Tracer, node: fx.Node) -> str:
    """Pooling of [B, C, L] to a fixed length: means of neighbours, else a linear layer over all of them."""
    source, out = arguments(node)[0], shape_of(node)
    value, shape = tracer.value(source), shape_of(source)
    rank, size, wanted = len(out.dims), shape.dims[-1], out.dims[-1]
    if wanted == 1:
        return tracer.add(Mean((rank - 1,), keepdim=True), name_of(node, "mean"), (value,), out)
    if size % wanted == 0:
        split = Shape((*shape.dims[:-1], wanted, size // wanted), shape.batch_axis)
        value = tracer.add(Reshape(), name_of(node, "split"), (value,), split)
        return tracer.add(Mean((rank,), keepdim=False), name_of(node, "mean"), (value,), out)
    weight = F.adaptive_avg_pool1d(torch.eye(size).unsqueeze(0), wanted)[0].T.contiguous()
    params = {"weight": weight, "bias": torch.zeros(wanted)}
    return tracer.add(Linear(), module_path(node), (value,), out, params)


def average_pool(tracer: Tracer, node: fx.Node) -> str:
    """The mean of every window of a map; where it leaves the map, of as many values as torch counts there."""
    source, size, step, padding, ceiling, counts_zeros, divisor = arguments(node)[:7]
    kernel, padding = pair(size), pair(padding or 0)
    stride = pair(step) if step else kernel
    counts_zeros = True if counts_zeros is None else bool(counts_zeros)
    height, width = shape_of(source).dims[-2:]
    ones = torch.ones(1, 1, height, width)
    shares = F.avg_pool2d(ones, kernel, stride, padding, bool(ceiling), counts_zeros, divisor)
    # A ceiling adds a window that goes beyond the padding: zeros there, which are not counted.
    beyond = [
        max((count - 1) * s + k - (size + 2 * p), 0)
        for count, s, k, size, p in zip(shares.shape[2:], stride, kernel, (height, width), padding, strict=True)
    ]
    pads = (*padding, padding[0] + beyond[0], padding[1] + beyond[1])
    top, left, bottom, right = pads
    plain = F.avg_pool2d(F.pad(ones, (left, right, top, bottom)), kernel, stride)
    pooled = _mean_of_windows(tracer, node, Windows(kernel, stride, pads))
    if torch.equal(shares, plain):
        return pooled
    params = {"value": (shares / plain)[0]}
    return tracer.add(Mul(), name_of(node, "counted"), (pooled,), shape_of(node), params)


def _mean_of_windows(tracer: Tracer, node: fx.Node, cut: Windows) -> str:
    """The means of all windows of a channels-first map."""
    kernel, name = cut.kernel, name_of(node, "windows")
    image = channels_last(tracer, node, arguments(node)[0])
    batch, depth, height, width = shape_of(node).dims
    pooled = Shape((batch, height, width, depth), 0)
    if kernel == (1, 1):  # nothing to add up
        return permuted(tracer, name_of(node, "nchw"), windows(tracer, name, image, cut), NCHW)
    whole = (height * kernel[0], width * kernel[1])
    if cut == Windows(kernel, kernel) and tracer.by_name[image].shape.dims[1:3] == whole:
        split = Shape((batch, height, kernel[0], width, kernel[1], depth), 0)
        value, mean = image, Mean((2, 4), keepdim=False)
    else:
        split = Shape((batch, height, width, kernel[0] * kernel[1], depth), 0)
        value = windows(tracer, name, image, cut)
        mean = Mean((3,), keepdim=False)
    value = tracer.add(Reshape(), name_of(node, "split"), (value,), split)
    value = tracer.add(mean, name_of(node, "mean"), (value,), pooled)
    return permuted(tracer, name_of(node, "nchw"), value, NCHW)


def amax(tracer: Tracer, node: fx.Node) -> str:
    """The largest values along axes, one after the other."""
    source, axes, keep = arguments(node)[:3]
    if not axes:
        raise MptqError(f"{module_path(node)}: a maximum over all axes mixes the images of a batch")
    value, shape = tracer.value(source), shape_of(source)
    for axis in sorted(axis_of(int(each), len(shape.dims)) for each in axes):
        value, shape = _largest(tracer, node, (value, shape), axis)
    return value if keep else tracer.add(Reshape(), name_of(node, "squeezed"), (value,), shape_of(node))


def _largest(tracer: Tracer, node: fx.Node, source: tuple[str, Shape], axis: int) -> tuple[str, Shape]:
    """The largest values of a value of some shape along an axis, which stays."""
    value, shape = source
    if axis == shape.batch_axis:
        raise MptqError(f"{module_path(node)}: a maximum over the batch is not supported")
    kept = Shape((*shape.dims[:axis], 1, *shape.dims[axis + 1 :]), shape.batch_axis)
    return tracer.add(Max(axis), name_of(node, "max"), (value,), kept), kept


def largest(tracer: Tracer, node: fx.Node) -> tuple[str, None]:
    """The largest values along one axis, without where they stand."""
    source, axis, keep = arguments(node)[:3]
    out, shape = shape_from(node.meta["val"][0].shape), shape_of(source)
    found, _ = _largest(tracer, node, (tracer.value(source), shape), axis_of(int(axis), len(shape.dims)))
    return found if keep else tracer.add(Reshape(), name_of(node, "squeezed"), (found,), out), None


def max_pool(tracer: Tracer, node: fx.Node) -> str:
    """The largest value of every window; what lies outside the map counts for nothing."""
    args = arguments(node)
    kernel, padding = pair(args[1]), pair(args[3] or 0)
    stride = pair(args[2]) if args[2] else kernel
    if pair(args[4] or 1) != (1, 1) or args[5]:
        raise MptqError(
            f"{module_path(node)}: max pooling with dilation or ceil_mode is not supported; build the model without it"
        )
    source, pads = args[0], (*padding, *padding)
    if isinstance(tracer.values[source], Surrounded):
        inner = tracer.values[source]
        source, pads = inner.of, _sums(pads, inner.pads)
    image = channels_last(tracer, node, source)
    batch, _, height, width = shape_of(node).dims
    depth = tracer.by_name[image].shape.dims[-1]
    count = kernel[0] * kernel[1]
    cut = windows(tracer, name_of(node, "windows"), image, Windows(kernel, stride, pads, edge=True))
    cut = tracer.add(Reshape(), name_of(node, "split"), (cut,), Shape((batch, height, width, count, depth), 0))
    largest = Shape((batch, height, width, 1, depth), 0)
    cut = tracer.add(Max(axis=3), module_path(node), (cut,), largest)
    cut = tracer.add(Reshape(), name_of(node, "pooled"), (cut,), Shape((batch, height, width, depth), 0))
    return permuted(tracer, name_of(node, "nchw"), cut, NCHW)


def _sums(first: tuple[int, int, int, int], second: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    top, left, bottom, right = (a + b for a, b in zip(first, second, strict=True))
    return top, left, bottom, right


def pad(tracer: Tracer, node: fx.Node) -> Any:
    """Padding of a map: by zeros, or by minus infinity in front of max pooling."""
    counts, value = [int(count) for count in arguments(node)[1]], arguments(node)[3]
    if value == -float("inf") and len(counts) == 4 and min(counts) >= 0:
        left, right, top, bottom = counts
        return Surrounded(arguments(node)[0], (top, left, bottom, right))
    return zero_pad(tracer, node)

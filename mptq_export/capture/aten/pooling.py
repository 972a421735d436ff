"""ATen ops that reduce a map or an axis to its mean or its largest values."""

from dataclasses import dataclass
from typing import Any

from torch import fx

from mptq_export.capture.aten.arguments import arguments, axis_of, name_of
from mptq_export.capture.aten.convolutions import NCHW, channels_last, pair, zero_pad
from mptq_export.capture.aten.movement import permuted, windows
from mptq_export.capture.graph import Shape
from mptq_export.capture.trace import Tracer, module_path, shape_of
from mptq_export.errors import MptqError


@dataclass(frozen=True)
class Surrounded:
    """A map with minus infinity around it, which only max pooling may read; not a value of the graph."""

    of: fx.Node
    pads: tuple[int, int, int, int]


def average_pool(tracer: Tracer, node: fx.Node) -> str:
    """Adaptive pooling of channels-first maps to one number a channel."""
    if [int(size) for size in arguments(node)[1]] != [1, 1]:
        raise MptqError(f"{module_path(node)}: pooling to {arguments(node)[1]} is not supported")
    rank = len(shape_of(node).dims)
    attrs = {"axes": (rank - 2, rank - 1), "keepdim": True}
    return tracer.add("mean", name_of(node, "mean"), (tracer.value(arguments(node)[0]),), shape_of(node), attrs)


def amax(tracer: Tracer, node: fx.Node) -> str:
    """The largest values along one axis."""
    source, axes, keep = arguments(node)[:3]
    shape = tracer.shape(source)
    if axes is None or len(axes) != 1 or axis_of(int(axes[0]), len(shape.dims)) == shape.batch_axis:
        raise MptqError(f"{module_path(node)}: a maximum over {axes} is not supported, only over one axis of an image")
    axis = axis_of(int(axes[0]), len(shape.dims))
    dims = (*shape.dims[:axis], 1, *shape.dims[axis + 1 :])
    largest = tracer.add(
        "max", name_of(node, "max"), (tracer.value(source),), Shape(dims, shape.batch_axis), {"axis": axis}
    )
    if keep:
        return largest
    return tracer.add("reshape", name_of(node, "squeezed"), (largest,), shape_of(node))


def max_pool(tracer: Tracer, node: fx.Node) -> str:
    """The largest value of every window; what lies outside the map counts for nothing."""
    args = arguments(node)
    kernel, padding = pair(args[1]), pair(args[3] or 0)
    stride = pair(args[2]) if args[2] else kernel
    if pair(args[4] or 1) != (1, 1) or args[5]:
        raise MptqError(f"{module_path(node)}: max pooling with dilation or with a ceiling is not supported")
    source, pads = args[0], (*padding, *padding)
    if isinstance(tracer.values[source], Surrounded):
        inner = tracer.values[source]
        source, pads = inner.of, _sums(pads, inner.pads)
    image = channels_last(tracer, node, source)
    batch, _, height, width = shape_of(node).dims
    depth = tracer.by_name[image].shape.dims[-1]
    count = kernel[0] * kernel[1]
    cut = windows(tracer, name_of(node, "windows"), image, kernel, stride, pads, edge=True)
    cut = tracer.add("reshape", name_of(node, "split"), (cut,), Shape((batch, height, width, count, depth), 0))
    largest = Shape((batch, height, width, 1, depth), 0)
    cut = tracer.add("max", module_path(node), (cut,), largest, {"axis": 3})
    cut = tracer.add("reshape", name_of(node, "pooled"), (cut,), Shape((batch, height, width, depth), 0))
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

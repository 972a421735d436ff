"""ATen ops that move data: shapes, slices, concatenations."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from mptq_export.capture.aten.arguments import arguments, axis_of, name_of
from mptq_export.capture.aten.repeated import Meeting
from mptq_export.capture.graph import Shape
from mptq_export.capture.metadata import module_path, shape_from, shape_of, size_at
from mptq_export.capture.ops import Concat, Permute, Reshape, Roll, Slice, Windows
from mptq_export.capture.tracer import Tracer
from mptq_export.support.errors import MptqError

aten = torch.ops.aten


@dataclass(frozen=True)
class Stack:
    """Values stacked along a new axis, not a value of the graph."""

    parts: tuple[fx.Node, ...]
    axis: int


def reshape_to(tracer: Tracer, node: fx.Node, source: str, shape: Shape) -> str:
    """A value in another shape."""
    return tracer.add(Reshape(), name_of(node, "reshape"), (source,), shape)


def reshape(tracer: Tracer, node: fx.Node) -> str:
    """Any op that only changes the shape."""
    return reshape_to(tracer, node, tracer.value(arguments(node)[0]), shape_of(node))


def permuted(tracer: Tracer, name: str, source: str, perm: tuple[int, ...]) -> str:
    """A value with its axes in another order; the value itself where the order is its own."""
    if perm == tuple(range(len(perm))):
        return source
    shape = tracer.by_name[source].shape
    batch = None if shape.batch_axis is None else perm.index(shape.batch_axis)
    moved = Shape(tuple(shape.dims[p] for p in perm), batch)
    return tracer.add(Permute(perm), name, (source,), moved)


def windows(tracer: Tracer, name: str, image: str, cut: Windows) -> str:
    """All windows of an NHWC map."""
    shape = tracer.by_name[image].shape
    batch, *sizes, depth = shape.dims
    kernel, pads = cut.kernel, cut.pads
    sizes = [
        (size + before + after - reach) // s + 1
        for size, before, after, reach, s in zip(sizes, pads[:2], pads[2:], cut.reach, cut.stride, strict=True)
    ]
    out = Shape((batch, *sizes, kernel[0] * kernel[1] * depth), shape.batch_axis)
    return tracer.add(cut, name, (image,), out)


def permute(tracer: Tracer, node: fx.Node) -> str:
    """Axes in another order."""
    rank = len(shape_of(node).dims)
    perm = tuple(axis_of(int(p), rank) for p in arguments(node)[1])
    return tracer.add(Permute(perm), name_of(node, "permute"), (tracer.value(arguments(node)[0]),), shape_of(node))


def transpose(tracer: Tracer, node: fx.Node) -> str:
    """Two axes exchanged."""
    rank = len(shape_of(node).dims)
    perm = list(range(rank))
    first, second = (axis_of(int(a), rank) for a in arguments(node)[1:3])
    perm[first], perm[second] = perm[second], perm[first]
    name = name_of(node, "transpose")
    return tracer.add(Permute(tuple(perm)), name, (tracer.value(arguments(node)[0]),), shape_of(node))


def reordered(tracer: Tracer, node: fx.Node) -> str:
    """Any other op that puts axes in another order: strides tell which."""
    source = arguments(node)[0]
    rank = len(shape_of(source).dims)
    places = torch.empty_strided([2] * rank, [2**i for i in range(rank)], device="meta")
    moved = node.target(places, *node.args[1:])  # type: ignore[operator]
    perm = tuple(places.stride().index(stride) for stride in moved.stride())
    return permuted(tracer, name_of(node, "permute"), tracer.value(source), perm)


def sliced(tracer: Tracer, node: fx.Node, source: str, shape: Shape, cut: Slice) -> str:
    """A slice of a value of a shape."""
    if cut.axis == shape.batch_axis:
        raise MptqError(f"{module_path(node)}: {node.target} selects along the batch, which cannot be exported")
    dims = (*shape.dims[: cut.axis], cut.end - cut.start, *shape.dims[cut.axis + 1 :])
    return tracer.add(cut, name_of(node, "slice"), (source,), Shape(dims, shape.batch_axis))


def _select_at(tracer: Tracer, node: fx.Node, axis: int, index: int, out: Shape) -> str:
    shape = shape_of(arguments(node)[0])
    index %= shape.dims[axis]
    piece = sliced(tracer, node, tracer.value(arguments(node)[0]), shape, Slice(axis, index, index + 1))
    return reshape_to(tracer, node, piece, out)


def select(tracer: Tracer, node: fx.Node) -> str:
    """One index of an axis, without the axis."""
    axis = axis_of(int(arguments(node)[1]), len(shape_of(arguments(node)[0]).dims))
    return _select_at(tracer, node, axis, int(arguments(node)[2]), shape_of(node))


def unbind(tracer: Tracer, node: fx.Node) -> tuple[str, ...]:
    """Every index of an axis."""
    shape = shape_of(arguments(node)[0])
    axis = axis_of(int(arguments(node)[1]) if len(node.args) > 1 else 0, len(shape.dims))
    outs = [shape_from(v.shape) for v in node.meta["val"]]
    return tuple(_select_at(tracer, node, axis, i, out) for i, out in enumerate(outs))


def slice_of(tracer: Tracer, node: fx.Node) -> str:
    """A range of an axis."""
    args = arguments(node)
    shape = shape_of(args[0])
    axis = axis_of(int(args[1] or 0), len(shape.dims))
    if (args[4] or 1) != 1:
        return _strided(tracer, node, axis)
    size = shape.dims[axis]
    if axis == shape.batch_axis and args[2] in (None, 0) and _is_whole(node, axis, args[3]):
        return tracer.value(args[0])
    if any(isinstance(edge, fx.Node) for edge in args[2:4]):
        raise MptqError(
            f"{module_path(node)}: {node.target} selects by the number of images of a batch, which cannot be exported"
        )
    start, end = (int(args[2] or 0), size if args[3] is None else int(args[3]))
    start, end = (min(max(v + size if v < 0 else v, 0), size) for v in (start, end))
    if (start, end) == (0, size):
        return tracer.value(args[0])
    return sliced(tracer, node, tracer.value(args[0]), shape, Slice(axis, start, end))


def _is_whole(node: fx.Node, axis: int, end: Any) -> bool:
    """Whether an end by the number of images is the end of an axis that grows with it."""
    told = end.meta.get("val") if isinstance(end, fx.Node) else None
    whole = arguments(node)[0].meta["val"].shape[axis]
    return isinstance(told, torch.SymInt) and all(size_at(told, count) >= size_at(whole, count) for count in (1, 5))


def narrow(tracer: Tracer, node: fx.Node) -> str:
    """So many positions of an axis from one on."""
    source, axis, start, length = arguments(node)[:4]
    shape = shape_of(source)
    axis = axis_of(int(axis), len(shape.dims))
    start = int(start) % shape.dims[axis]
    return sliced(tracer, node, tracer.value(source), shape, Slice(axis, start, start + int(length)))


def _strided(tracer: Tracer, node: fx.Node, axis: int) -> str:
    """Every n-th element: a reshape into groups of n and one of each, or windows of one element of a map."""
    args = arguments(node)
    shape, step, start = shape_of(args[0]), int(args[4]), int(args[2] or 0)
    if len(shape.dims) == 4 and axis in (1, 2) and start == 0 and shape.dims[axis] % step:
        stride = (step, 1) if axis == 1 else (1, step)
        return windows(tracer, name_of(node, "strided"), tracer.value(args[0]), Windows(stride=stride))
    if shape.dims[axis] % step or start >= step or axis == shape.batch_axis:
        raise MptqError(f"{module_path(node)}: a slice with step {step} that does not divide its axis is not supported")
    groups = (*shape.dims[:axis], shape.dims[axis] // step, step, *shape.dims[axis + 1 :])
    moved = None if shape.batch_axis is None else shape.batch_axis + (shape.batch_axis > axis)
    cut = reshape_to(tracer, node, tracer.value(args[0]), Shape(groups, moved))
    one = sliced(tracer, node, cut, Shape(groups, moved), Slice(axis + 1, start, start + 1))
    return reshape_to(tracer, node, one, shape_of(node))


def split(tracer: Tracer, node: fx.Node) -> tuple[str, ...]:
    """Split / chunk / split_with_sizes: the sizes are read from the results."""
    shape = shape_of(arguments(node)[0])
    axis = axis_of(int(arguments(node)[2]) if len(node.args) > 2 else 0, len(shape.dims))
    pieces, start = [], 0
    for result in node.meta["val"]:
        end = start + int(result.shape[axis])
        pieces.append(sliced(tracer, node, tracer.value(arguments(node)[0]), shape, Slice(axis, start, end)))
        start = end
    return tuple(pieces)


def concat(tracer: Tracer, node: fx.Node) -> str:
    """Values along an axis that they have."""
    axis = axis_of(int(arguments(node)[1]) if len(node.args) > 1 else 0, len(shape_of(node).dims))
    parts = [part for part in arguments(node)[0] if shape_of(part).dims != (0,)]  # torch lets empty ones through
    meeting = Meeting(tracer, node, parts)
    inputs = tuple(map(meeting.operand, parts))
    split = meeting.rows is not None and axis > axis_of(meeting.rows.axis, len(shape_of(node).dims))
    return meeting.result(Concat(axis + split), "concat", inputs)


def stack(tracer: Tracer, node: fx.Node) -> "str | Stack":
    """A concatenation along a new axis; held back where only sums over that axis read it."""
    parts, shape = tuple(arguments(node)[0]), shape_of(node)
    axis = axis_of(int(arguments(node)[1] or 0), len(shape.dims))
    if all(user.target is aten.sum.dim_IntList for user in node.users):
        return Stack(parts, axis)
    thin = Shape((*shape.dims[:axis], 1, *shape.dims[axis + 1 :]), shape.batch_axis)
    inputs = tuple(reshape_to(tracer, node, tracer.value(part), thin) for part in parts)
    return tracer.add(Concat(axis), name_of(node, "stack"), inputs, shape)


def roll(tracer: Tracer, node: fx.Node) -> str:
    """A cyclic shift."""
    shape = shape_of(node)
    shifts = tuple(int(s) for s in arguments(node)[1])
    axes = tuple(axis_of(int(a), len(shape.dims)) for a in arguments(node)[2])
    if shape.batch_axis in axes:
        raise MptqError(f"{module_path(node)}: a roll along the batch is not supported: images are mixed")
    return tracer.add(Roll(shifts, axes), name_of(node, "roll"), (tracer.value(arguments(node)[0]),), shape)


def repeat_interleave(tracer: Tracer, node: fx.Node) -> str:
    """Every image's rows so many times, one after the other."""
    source, _, axis = arguments(node)[:3]
    before, after = shape_of(source), shape_of(node)
    if axis is None or before.batch_axis != 0 or int(axis) != 0:
        raise MptqError(f"{module_path(node)}: {node.target} is supported along the batch only")
    copies = after.dims[0] // before.dims[0]
    thin = Shape((before.dims[0], 1, *before.dims[1:]), 0)
    wide = Shape((before.dims[0], copies, *before.dims[1:]), 0)
    one = reshape_to(tracer, node, tracer.value(source), thin)
    value = tracer.add(Concat(axis=1), name_of(node, "copies"), (one,) * copies, wide)
    return reshape_to(tracer, node, value, after)


def pixel_shuffle(tracer: Tracer, node: fx.Node) -> str:
    """Channels become blocks of pixels."""
    source, factor = arguments(node)[0], int(arguments(node)[1])
    batch, channels, height, width = shape_of(node).dims
    split = Shape((batch, channels, factor, factor, height // factor, width // factor), 0)
    value = reshape_to(tracer, node, tracer.value(source), split)
    value = permuted(tracer, name_of(node, "blocks"), value, (0, 1, 4, 2, 5, 3))
    return reshape_to(tracer, node, value, shape_of(node))


def copy(tracer: Tracer, node: fx.Node) -> str:
    """A value written into a slice of another, which from here on is a concatenation."""
    target, source = arguments(node)[:2]
    value = written = tracer.value(source)
    while target.target is aten.slice.Tensor:
        base, axis, start, end, step = arguments(target)[:5]
        shape = shape_of(base)
        axis = axis_of(int(axis or 0), len(shape.dims))
        size, held = shape.dims[axis], tracer.value(base)
        start, end = (min(max(v + size if v < 0 else v, 0), size) for v in (int(start or 0), int(end or size)))
        if (step or 1) != 1 or axis == shape.batch_axis:
            raise MptqError(f"{module_path(node)}: writing into such a slice is not supported")
        edges = [(0, start), (start, end), (end, size)]
        parts = [
            value if edge == (start, end) else sliced(tracer, node, held, shape, Slice(axis, *edge))
            for edge in edges
            if edge[0] < edge[1]
        ]
        if len(parts) > 1:
            value = tracer.add(Concat(axis), name_of(node, "written"), tuple(parts), shape)
        target = base
    known = target.op == "call_function" and not tracer.is_constant(target)
    if not known or shape_of(target).dims != tracer.by_name[value].shape.dims:
        raise MptqError(f"{module_path(node)}: writing into this value is not supported")
    tracer.values[target] = value
    return written

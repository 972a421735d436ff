"""ATen ops that repeat a value along axes, or pick positions of an axis by constant numbers."""

from itertools import pairwise
from typing import Any

import torch
from torch import fx

from mptq_export.capture.aten.arguments import arguments, axis_of, name_of
from mptq_export.capture.aten.movement import reshape_to, sliced
from mptq_export.capture.aten.norms import same_length
from mptq_export.capture.graph import Shape
from mptq_export.capture.metadata import module_path, shape_of
from mptq_export.capture.ops import Concat, Slice
from mptq_export.capture.tracer import Tracer
from mptq_export.support.errors import MptqError

#: What broadcasts by itself.
_BROADCASTING = (torch.ops.aten.add.Tensor, torch.ops.aten.mul.Tensor, torch.ops.aten.sub.Tensor)


def repeat(tracer: Tracer, node: fx.Node) -> str:
    """`repeat` and `tile`: the whole value so many times along each axis."""
    source, given = arguments(node)[:2]
    counts = [1 if isinstance(count, fx.Node) else int(count) for count in given]
    if any(isinstance(count, fx.Node) for count in given):
        raise MptqError(f"{module_path(node)}: {node.target} repeats by the number of images; it cannot be exported")
    shape = shape_of(source)
    added = max(len(counts) - len(shape.dims), 0)
    counts = [1] * (len(shape.dims) - len(counts)) + counts
    wide = Shape((*[1] * added, *shape.dims), None if shape.batch_axis is None else shape.batch_axis + added)
    value = reshape_to(tracer, node, tracer.value(source), wide) if added else tracer.value(source)
    for axis, count in enumerate(counts):
        value = _copies(tracer, node, value, axis, count)
    return value


def expand(tracer: Tracer, node: fx.Node) -> Any:
    """Axes of size one in another size: left to readers that broadcast, else copied. A length stays one."""
    source = arguments(node)[0]
    if not isinstance(tracer.values[source], str):
        return same_length(tracer, node)
    value, before, after = tracer.value(source), shape_of(source), shape_of(node)
    added = len(after.dims) - len(before.dims)
    if before == after or (not added and _is_broadcast(node)):
        return value
    if added:
        moved = None if before.batch_axis is None else before.batch_axis + added
        value = reshape_to(tracer, node, value, Shape((*[1] * added, *before.dims), moved))
    shape = tracer.by_name[value].shape
    if shape.batch_axis != after.batch_axis:
        raise MptqError(f"{module_path(node)}: {node.target} expands by the number of images; it cannot be exported")
    for axis, (size, wanted) in enumerate(zip(shape.dims, after.dims, strict=True)):
        value = _copies(tracer, node, value, axis, wanted // size)
    return value


def _is_broadcast(node: fx.Node) -> bool:
    """Whether all readers broadcast by themselves, against a value that has the sizes of this one."""

    def is_full(other: Any) -> bool:
        return isinstance(other, fx.Node) and other is not node and shape_of(other) == shape_of(node)

    return all(user.target in _BROADCASTING and any(map(is_full, user.args)) for user in node.users)


def _copies(tracer: Tracer, node: fx.Node, value: str, axis: int, count: int) -> str:
    """A value so many times along an axis, one behind the other."""
    shape = tracer.by_name[value].shape
    if count == 1:
        return value
    if axis == shape.batch_axis:
        raise MptqError(f"{module_path(node)}: {node.target} repeats images, which cannot be exported")
    dims = (*shape.dims[:axis], count * shape.dims[axis], *shape.dims[axis + 1 :])
    return tracer.add(Concat(axis), name_of(node, "copies"), (value,) * count, Shape(dims, shape.batch_axis))


def index_select(tracer: Tracer, node: fx.Node) -> str:
    """Positions of an axis that a constant numbers."""
    source, axis, index = arguments(node)[:3]
    return _picked(
        tracer, node, axis_of(int(axis), len(shape_of(source).dims)), _numbers(tracer, node, index).flatten()
    )


def index(tracer: Tracer, node: fx.Node) -> str:
    """`x[:, numbers]`: positions of one axis, by a constant of one axis."""
    given = arguments(node)[1]
    taken = [(axis, each) for axis, each in enumerate(given) if each is not None]
    if len(taken) != 1:
        raise MptqError(f"{module_path(node)}: indexing several axes at once is not supported")
    ((axis, each),) = taken
    numbers = _numbers(tracer, node, each)
    if numbers.dtype == torch.bool:
        numbers = numbers.nonzero().flatten() if numbers.dim() == 1 else numbers
    if numbers.dim() != 1 or numbers.dtype == torch.bool:
        raise MptqError(f"{module_path(node)}: indexing by {numbers.dim()} axes of numbers is not supported")
    return _picked(tracer, node, axis, numbers)


def gather(tracer: Tracer, node: fx.Node) -> str:
    """`gather` by constant numbers that are the same everywhere but along its axis."""
    source, axis, given = arguments(node)[:3]
    numbers = _numbers(tracer, node, given)
    axis = axis_of(int(axis), numbers.dim())
    rows = numbers.movedim(axis, -1).reshape(-1, numbers.shape[axis])
    others = [i for i in range(numbers.dim()) if i != axis]
    whole = all(shape_of(given).dims[i] == shape_of(source).dims[i] for i in others)
    if not whole or not bool((rows == rows[0]).all()):
        raise MptqError(f"{module_path(node)}: gather by other numbers for other channels or tokens is not supported")
    return _picked(tracer, node, axis, rows[0])


def flip(tracer: Tracer, node: fx.Node) -> str:
    """Axes in the opposite order."""
    source = arguments(node)[0]
    value = tracer.value(source)
    for axis in arguments(node)[1]:
        place = axis_of(int(axis), len(shape_of(source).dims))
        value = _positions(tracer, node, value, place, torch.arange(shape_of(source).dims[place]).flip(0).tolist())
    return value


def _numbers(tracer: Tracer, node: fx.Node, given: fx.Node) -> torch.Tensor:
    value = tracer.values[given]
    if not isinstance(value, torch.Tensor):
        raise MptqError(f"{module_path(node)}: {node.target} picks positions that depend on the image; not supported")
    return value


def _picked(tracer: Tracer, node: fx.Node, axis: int, numbers: torch.Tensor) -> str:
    source = arguments(node)[0]
    size = shape_of(source).dims[axis]
    return _positions(tracer, node, tracer.value(source), axis, (numbers % size).tolist())


def _positions(tracer: Tracer, node: fx.Node, value: str, axis: int, numbers: list[int]) -> str:
    """Positions of an axis: runs of neighbours, one behind the other."""
    shape = tracer.by_name[value].shape
    if axis == shape.batch_axis:
        raise MptqError(f"{module_path(node)}: {node.target} picks images of a batch, which cannot be exported")
    if numbers == list(range(shape.dims[axis])):
        return value
    ends = [0, *(i + 1 for i, (a, b) in enumerate(pairwise(numbers)) if b != a + 1), len(numbers)]
    parts = [
        sliced(tracer, node, value, shape, Slice(axis, numbers[low], numbers[high - 1] + 1))
        for low, high in pairwise(ends)
    ]
    if len(parts) == 1:
        return parts[0]
    dims = (*shape.dims[:axis], len(numbers), *shape.dims[axis + 1 :])
    return tracer.add(Concat(axis), name_of(node, "picked"), tuple(parts), Shape(dims, shape.batch_axis))

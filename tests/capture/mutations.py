"""Small mistakes in a graph, such as a rewrite could make: each changes one node."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations
from typing import Any

from mptq_export.capture.graph import Graph, Node, Shape
from mptq_export.capture.ops import (
    Concat,
    Constant,
    Matmul,
    Max,
    Mean,
    Movement,
    Op,
    Pad,
    Permute,
    Reshape,
    Roll,
    Rotary,
    Slice,
    Windows,
    label,
)

Mutant = tuple[str, Graph]


def mutants(graph: Graph) -> Iterator[Mutant]:
    """Every mistake in every place, (what, graph); of places that look the same the first."""
    seen = set()
    for node in graph:
        for what, wrong in _of_node(graph, node):
            looks = (what, node.op, node.shape, tuple(graph[name].shape for name in node.inputs))
            if looks not in seen:
                seen.add(looks)
                yield f"{node.name}: {what}", graph.updated({node.name: wrong})


def _of_node(graph: Graph, node: Node) -> Iterator[tuple[str, Node]]:
    yield from _other_inputs(graph, node)
    yield from _KINDS.get(type(node.op), lambda _graph, _node: iter(()))(graph, node)


def _with(node: Node, **changed: Any) -> Node:
    return replace(node, op=replace(node.op, **changed))


def _swapped(values: tuple[int, ...], i: int, j: int) -> tuple[int, ...]:
    found = list(values)
    found[i], found[j] = found[j], found[i]
    return tuple(found)


def _other_inputs(graph: Graph, node: Node) -> Iterator[tuple[str, Node]]:
    """Operands exchanged, or movement left out."""
    if len(node.inputs) == 2 and isinstance(node.op, Matmul | Concat):
        yield "operands exchanged", replace(node, inputs=node.inputs[::-1])
    for i, name in enumerate(node.inputs):
        if isinstance(graph[name].op, Movement) and graph[graph[name].inputs[0]].shape == graph[name].shape:
            inputs = (*node.inputs[:i], graph[name].inputs[0], *node.inputs[i + 1 :])
            yield f"the {label(graph[name].op)} before it left out", replace(node, inputs=inputs)


def _reshape(_graph: Graph, node: Node) -> Iterator[tuple[str, Node]]:
    """Two images for ever, the rest of the sizes in place or one of them open; sizes in another order."""
    dims, batch = node.shape.dims, node.shape.batch_axis
    if batch is not None:
        frozen = node.shape.at(2)
        yield "a batch of 2 frozen", replace(node, shape=Shape(frozen, None))
        yield "a batch of 1 frozen", replace(node, shape=Shape(dims, None))
        for axis in range(len(dims)):
            if axis != batch:
                yield f"a batch of 2 frozen, axis {axis} open", replace(node, shape=Shape(frozen, axis))
    for i, j in combinations(range(len(dims)), 2):
        axis = {i: j, j: i}.get(batch, batch) if batch is not None else None
        yield f"sizes {i} and {j} exchanged", replace(node, shape=Shape(_swapped(dims, i, j), axis))


def _permute(_graph: Graph, node: Node) -> Iterator[tuple[str, Node]]:
    for i, j in combinations(range(len(node.shape.dims)), 2):
        yield f"axes {i} and {j} exchanged", _with(node, perm=_swapped(node.op.perm, i, j))


def _slice(graph: Graph, node: Node) -> Iterator[tuple[str, Node]]:
    axis, start, end = node.op.axis, node.op.start, node.op.end
    sizes = graph[node.inputs[0]].shape
    yield "the last row dropped", _with(node, end=end - 1)
    for step in (-1, 1):
        if start + step >= 0 and end + step <= sizes.dims[axis]:
            yield f"{step} row further", _with(node, start=start + step, end=end + step)
    for other, size in enumerate(sizes.dims):
        if other != axis and size == sizes.dims[axis]:
            yield f"along axis {other}", _with(node, axis=other)


def _roll(_graph: Graph, node: Node) -> Iterator[tuple[str, Node]]:
    shifts, axes = node.op.shifts, node.op.axes
    for i in range(len(shifts)):
        for step in (-1, 1):
            moved = (*shifts[:i], shifts[i] + step, *shifts[i + 1 :])
            yield f"shift {i} {step} further", _with(node, shifts=moved)
        yield f"shift {i} left out", _with(node, shifts=(*shifts[:i], 0, *shifts[i + 1 :]))
    yield "along the batch", _with(node, axes=(0, *axes[1:]))


def _windows(_graph: Graph, node: Node) -> Iterator[tuple[str, Node]]:
    pads, edge = node.op.pads, node.op.edge
    for i in (0, 1):
        for step in (-1, 1):
            moved = list(pads)
            moved[i] += step
            moved[i + 2] -= step
            if min(moved) >= 0:
                yield f"padding {i} {step} further", _with(node, pads=tuple(moved))
    if any(pads):
        yield "another margin", _with(node, edge=not edge)


def _concat(_graph: Graph, node: Node) -> Iterator[tuple[str, Node]]:
    for i in range(len(node.inputs) - 1):
        order = list(node.inputs)
        order[i], order[i + 1] = order[i + 1], order[i]
        yield f"parts {i} and {i + 1} exchanged", replace(node, inputs=tuple(order))
    for axis, size in enumerate(node.shape.dims):
        if axis != node.op.axis and size == node.shape.dims[node.op.axis]:
            yield f"along axis {axis}", _with(node, axis=axis)


def _constant(_graph: Graph, node: Node) -> Iterator[tuple[str, Node]]:
    """A token repeated for two images, once and for all; the rows of a table moved on."""
    value = node.params["value"]
    if value.dim() > 1 and value.shape[0] == 1:
        repeated = value.expand(2, *value.shape[1:]).contiguous()
        yield (
            "repeated for 2 images",
            replace(node, shape=Shape(tuple(repeated.shape), None), params={"value": repeated}),
        )
    for axis in range(value.dim()):
        if value.shape[axis] > 1:
            yield f"rolled along axis {axis}", replace(node, params={"value": value.roll(1, axis)})


def _pad(_graph: Graph, node: Node) -> Iterator[tuple[str, Node]]:
    before, after = node.op.before, node.op.after
    yield "the other end", _with(node, before=after, after=before)


def _reduction(graph: Graph, node: Node) -> Iterator[tuple[str, Node]]:
    """Over the axis beside it."""
    axes = (node.op.axis,) if isinstance(node.op, Max) else node.op.axes
    for axis in range(len(graph[node.inputs[0]].shape.dims)):
        if axis not in axes:
            yield (
                f"over axis {axis}",
                _with(node, **({"axis": axis} if isinstance(node.op, Max) else {"axes": (axis, *axes[1:])})),
            )


def _rotary(_graph: Graph, node: Node) -> Iterator[tuple[str, Node]]:
    yield "the other planes", _with(node, pairs=not node.op.pairs)


_KINDS: dict[type[Op], Callable[[Graph, Node], Iterator[tuple[str, Node]]]] = {
    Reshape: _reshape,
    Permute: _permute,
    Slice: _slice,
    Roll: _roll,
    Windows: _windows,
    Concat: _concat,
    Constant: _constant,
    Pad: _pad,
    Mean: _reduction,
    Max: _reduction,
    Rotary: _rotary,
}

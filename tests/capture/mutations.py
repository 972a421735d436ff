"""Small mistakes in a graph, such as a rewrite could make: each changes one node."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations
from typing import Any

from mptq_export.capture.graph import MOVEMENT, Graph, Node, Shape

Mutant = tuple[str, Graph]


def mutants(graph: Graph) -> Iterator[Mutant]:
    """Every mistake in every place, (what, graph); of places that look the same the first."""
    seen = set()
    for node in graph:
        for what, wrong in _of_node(graph, node):
            looks = (what, node.op, node.shape, tuple(graph[name].shape for name in node.inputs), repr(node.attrs))
            if looks not in seen:
                seen.add(looks)
                yield f"{node.name}: {what}", graph.updated({node.name: wrong})


def _of_node(graph: Graph, node: Node) -> Iterator[tuple[str, Node]]:
    yield from _other_inputs(graph, node)
    yield from _KINDS.get(node.op, lambda _graph, _node: iter(()))(graph, node)


def _attrs(node: Node, **changed: Any) -> Node:
    return replace(node, attrs={**node.attrs, **changed})


def _swapped(values: tuple[int, ...], i: int, j: int) -> tuple[int, ...]:
    found = list(values)
    found[i], found[j] = found[j], found[i]
    return tuple(found)


def _other_inputs(graph: Graph, node: Node) -> Iterator[tuple[str, Node]]:
    """Operands exchanged, or movement left out."""
    if len(node.inputs) == 2 and node.op in ("matmul", "concat"):
        yield "operands exchanged", replace(node, inputs=node.inputs[::-1])
    for i, name in enumerate(node.inputs):
        if graph[name].op in MOVEMENT and graph[graph[name].inputs[0]].shape == graph[name].shape:
            inputs = (*node.inputs[:i], graph[name].inputs[0], *node.inputs[i + 1 :])
            yield f"the {graph[name].op} before it left out", replace(node, inputs=inputs)


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
        yield f"axes {i} and {j} exchanged", _attrs(node, perm=_swapped(node.attrs["perm"], i, j))


def _slice(graph: Graph, node: Node) -> Iterator[tuple[str, Node]]:
    axis, start, end = (node.attrs[key] for key in ("axis", "start", "end"))
    sizes = graph[node.inputs[0]].shape
    yield "the last row dropped", _attrs(node, end=end - 1)
    for step in (-1, 1):
        if start + step >= 0 and end + step <= sizes.dims[axis]:
            yield f"{step} row further", _attrs(node, start=start + step, end=end + step)
    for other, size in enumerate(sizes.dims):
        if other != axis and size == sizes.dims[axis]:
            yield f"along axis {other}", _attrs(node, axis=other)


def _roll(_graph: Graph, node: Node) -> Iterator[tuple[str, Node]]:
    shifts, axes = node.attrs["shifts"], node.attrs["axes"]
    for i in range(len(shifts)):
        for step in (-1, 1):
            moved = (*shifts[:i], shifts[i] + step, *shifts[i + 1 :])
            yield f"shift {i} {step} further", _attrs(node, shifts=moved)
        yield f"shift {i} left out", _attrs(node, shifts=(*shifts[:i], 0, *shifts[i + 1 :]))
    yield "along the batch", _attrs(node, axes=(0, *axes[1:]))


def _windows(_graph: Graph, node: Node) -> Iterator[tuple[str, Node]]:
    pads, edge = node.attrs["pads"], node.attrs.get("edge", False)
    for i in (0, 1):
        for step in (-1, 1):
            moved = list(pads)
            moved[i] += step
            moved[i + 2] -= step
            if min(moved) >= 0:
                yield f"padding {i} {step} further", _attrs(node, pads=tuple(moved))
    if any(pads):
        yield "another margin", _attrs(node, edge=not edge)


def _concat(_graph: Graph, node: Node) -> Iterator[tuple[str, Node]]:
    for i in range(len(node.inputs) - 1):
        order = list(node.inputs)
        order[i], order[i + 1] = order[i + 1], order[i]
        yield f"parts {i} and {i + 1} exchanged", replace(node, inputs=tuple(order))
    for axis, size in enumerate(node.shape.dims):
        if axis != node.attrs["axis"] and size == node.shape.dims[node.attrs["axis"]]:
            yield f"along axis {axis}", _attrs(node, axis=axis)


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
    before, after = node.attrs["before"], node.attrs["after"]
    yield "the other end", _attrs(node, before=after, after=before)


def _reduction(graph: Graph, node: Node) -> Iterator[tuple[str, Node]]:
    """Over the axis beside it."""
    key = "axis" if node.op == "max" else "axes"
    axes = (node.attrs[key],) if key == "axis" else node.attrs[key]
    for axis in range(len(graph[node.inputs[0]].shape.dims)):
        if axis not in axes:
            yield f"over axis {axis}", _attrs(node, **{key: axis if key == "axis" else (axis, *axes[1:])})


def _rotary(_graph: Graph, node: Node) -> Iterator[tuple[str, Node]]:
    yield "the other planes", _attrs(node, pairs=not node.attrs["pairs"])


_KINDS: dict[str, Callable[[Graph, Node], Iterator[tuple[str, Node]]]] = {
    "reshape": _reshape,
    "permute": _permute,
    "slice": _slice,
    "roll": _roll,
    "windows": _windows,
    "concat": _concat,
    "constant": _constant,
    "pad": _pad,
    "mean": _reduction,
    "max": _reduction,
    "rotary": _rotary,
}

"""Rows that nobody reads are not computed.

A head that reads one token needs only that token's row of the last block's residual, MLP, projection and queries.
Where every reader of a row-wise value takes the same slice of it, the slice moves in front of the computation, again
and again, until it stands where all rows are needed (the keys and values of the last attention).
"""

from dataclasses import replace

import torch

from mptq_export.capture.graph import Graph, Node, Shape

_ROW_WISE = frozenset({"linear", "layer_norm", "activation", "add", "mul", "softmax", "matmul", "permute", "reshape"})


def hoist_slices(graph: Graph) -> Graph:
    """Move slices along token axes towards the input as far as they go.

    Preserves: the output.
    """
    while True:
        moved = _hoist_one(graph)
        if moved is None:
            return graph
        graph = moved.pruned()


def _hoist_one(graph: Graph) -> Graph | None:
    readers = graph.consumers()
    for node in reversed(list(graph)):
        if node.op not in _ROW_WISE or node.name == graph.output or not readers[node.name]:
            continue
        cuts = readers[node.name]
        attrs = cuts[0].attrs
        if any(cut.op != "slice" or cut.attrs != attrs for cut in cuts):
            continue
        inputs = _sliced_inputs(graph, node, attrs)
        if inputs is None:
            continue
        small = replace(node, inputs=tuple(made.name for made in inputs), shape=_cut(node.shape, attrs))
        nodes: dict[str, Node] = {}
        for each in graph:
            if each.name == node.name:  # a slice that exists may stand behind the node so far
                nodes |= {made.name: made for made in inputs if made.name not in nodes}
                nodes[small.name] = small
            nodes.setdefault(each.name, each)
        return Graph(nodes.values(), graph.output).bypassed({cut.name: node.name for cut in cuts})
    return None


def _cut(shape: Shape, attrs: dict[str, int]) -> Shape:
    axis = attrs["axis"]
    return Shape((*shape.dims[:axis], attrs["end"] - attrs["start"], *shape.dims[axis + 1 :]), shape.batch_axis)


def _slice(graph: Graph, source: str, axis: int, start: int, end: int) -> Node:
    """A slice of `source`; the one that exists already where there is one. That of a constant is a constant."""
    name = f"{source}.rows{axis}_{start}_{end}"
    if name in graph.nodes:
        return graph[name]
    if graph[source].op == "constant":
        value = graph[source].params["value"].narrow(axis, start, end - start).contiguous()
        return Node("constant", name, (), Shape(tuple(value.shape), None), {}, {"value": value})
    attrs = {"axis": axis, "start": start, "end": end}
    for node in graph:
        if node.op == "slice" and node.inputs == (source,) and node.attrs == attrs:
            return node
    return Node("slice", name, (source,), _cut(graph[source].shape, attrs), attrs)


def _sliced_inputs(graph: Graph, node: Node, attrs: dict[str, int]) -> list[Node] | None:
    """The inputs from which the sliced value follows, or None where the slice cannot move."""
    axis, start, end = attrs["axis"], attrs["start"], attrs["end"]
    rank = len(node.shape.dims)
    source = node.inputs[0]
    if node.op == "permute":
        return [_slice(graph, source, node.attrs["perm"][axis], start, end)]
    if node.op == "reshape":
        before = _axis_before_reshape(graph[source].shape, node.shape, axis)
        return None if before is None else [_slice(graph, source, before, start, end)]
    if node.op == "matmul":
        if axis != rank - 2:
            return None
        return [_slice(graph, source, len(graph[source].shape.dims) - 2, start, end), graph[node.inputs[1]]]
    if axis == rank - 1 or (node.op == "mul" and _varies_along(node.params["value"], axis - rank)):
        return None
    if node.op == "add":
        return [_sliced_operand(graph, name, rank, axis, start, end) for name in node.inputs]
    return [_slice(graph, source, axis, start, end)]


def _varies_along(factor: torch.Tensor, axis: int) -> bool:
    """Whether a factor has a number of its own for every position of an axis, counted from the back."""
    return factor.dim() >= -axis and factor.shape[axis] != 1


def _sliced_operand(graph: Graph, name: str, rank: int, axis: int, start: int, end: int) -> Node:
    """An operand of an addition; an axis that is broadcast stays as it is."""
    shape = graph[name].shape
    own = axis - (rank - len(shape.dims))
    if own < 0 or shape.dims[own] == 1:
        return graph[name]
    return _slice(graph, name, own, start, end)


def _axis_before_reshape(before: Shape, after: Shape, axis: int) -> int | None:
    """The axis of the input that is `axis` of the result, where the reshape keeps it whole."""
    outer = _product(after.dims[:axis])
    for i, size in enumerate(before.dims):
        if size == after.dims[axis] and _product(before.dims[:i]) == outer and i != before.batch_axis:
            return i
    return None


def _product(sizes: tuple[int, ...]) -> int:
    result = 1
    for size in sizes:
        result *= size
    return result

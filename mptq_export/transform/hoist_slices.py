"""Rows that nobody reads are not computed.

A head that reads one token needs only that token's row of the last block's residual, MLP, projection and queries.
Where every reader of a row-wise value takes the same slice of it, the slice moves in front of the computation, again
and again, until it stands where all rows are needed (the keys and values of the last attention).
"""

from dataclasses import replace

import torch

from mptq_export.capture.graph import Graph, Node, Shape
from mptq_export.capture.ops import (
    Activation,
    Add,
    Constant,
    LayerNorm,
    Linear,
    Matmul,
    Mul,
    Permute,
    Relu,
    Reshape,
    Slice,
    Softmax,
)

_RowWise = Linear | LayerNorm | Activation | Relu | Add | Mul | Softmax | Matmul | Permute | Reshape


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
        if not isinstance(node.op, _RowWise) or node.name == graph.output or not readers[node.name]:
            continue
        cuts = readers[node.name]
        cut = cuts[0].op
        if not isinstance(cut, Slice) or any(reader.op != cut for reader in cuts):
            continue
        inputs = _sliced_inputs(graph, node, cut)
        if inputs is None:
            continue
        small = replace(node, inputs=tuple(made.name for made in inputs), shape=_cut(node.shape, cut))
        nodes: dict[str, Node] = {}
        for each in graph:
            if each.name == node.name:  # a slice that exists may stand behind the node so far
                nodes |= {made.name: made for made in inputs if made.name not in nodes}
                nodes[small.name] = small
            nodes.setdefault(each.name, each)
        return Graph(nodes.values(), graph.output).bypassed({reader.name: node.name for reader in cuts})
    return None


def _cut(shape: Shape, cut: Slice) -> Shape:
    dims = (*shape.dims[: cut.axis], cut.end - cut.start, *shape.dims[cut.axis + 1 :])
    return Shape(dims, shape.batch_axis)


def _slice(graph: Graph, source: str, cut: Slice) -> Node:
    """A slice of `source`; the one that exists already where there is one. That of a constant is a constant."""
    name = f"{source}.rows{cut.axis}_{cut.start}_{cut.end}"
    if name in graph.nodes:
        return graph[name]
    if isinstance(graph[source].op, Constant):
        value = graph[source].params["value"].narrow(cut.axis, cut.start, cut.end - cut.start).contiguous()
        return Node(Constant(), name, (), Shape(tuple(value.shape), None), {"value": value})
    for node in graph:
        if node.op == cut and node.inputs == (source,):
            return node
    return Node(cut, name, (source,), _cut(graph[source].shape, cut))


def _sliced_inputs(graph: Graph, node: Node, cut: Slice) -> list[Node] | None:
    """The inputs from which the sliced value follows, or None where the slice cannot move."""
    axis, rank = cut.axis, len(node.shape.dims)
    source = node.inputs[0]
    if isinstance(node.op, Permute):
        return [_slice(graph, source, replace(cut, axis=node.op.perm[axis]))]
    if isinstance(node.op, Reshape):
        before = _axis_before_reshape(graph[source].shape, node.shape, axis)
        return None if before is None else [_slice(graph, source, replace(cut, axis=before))]
    if isinstance(node.op, Matmul):
        if axis != rank - 2:
            return None
        return [_slice(graph, source, replace(cut, axis=len(graph[source].shape.dims) - 2)), graph[node.inputs[1]]]
    if axis == rank - 1 or (isinstance(node.op, Mul) and _varies_along(node.params["value"], axis - rank)):
        return None
    if isinstance(node.op, Add):
        return [_sliced_operand(graph, name, rank, cut) for name in node.inputs]
    return [_slice(graph, source, cut)]


def _varies_along(factor: torch.Tensor, axis: int) -> bool:
    """Whether a factor has a number of its own for every position of an axis, counted from the back."""
    return factor.dim() >= -axis and factor.shape[axis] != 1


def _sliced_operand(graph: Graph, name: str, rank: int, cut: Slice) -> Node:
    """An operand of an addition; an axis that is broadcast stays as it is."""
    shape = graph[name].shape
    own = cut.axis - (rank - len(shape.dims))
    if own < 0 or shape.dims[own] == 1:
        return graph[name]
    return _slice(graph, name, replace(cut, axis=own))


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

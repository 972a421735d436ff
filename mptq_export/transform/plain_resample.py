"""Resizing along an axis as a linear layer over that axis: runtimes agree on a matrix, not on what to call resizing."""

import torch

from mptq_export.capture.graph import Graph, Node, Shape
from mptq_export.capture.ops import Linear, Permute, Resample


def plain_resample(graph: Graph) -> Graph:
    """Write every linear map along an axis as a layer over the last axis.

    Preserves: the output.
    """
    return graph.expanded({node.name: _layer(graph, node) for node in graph if isinstance(node.op, Resample)})


def _layer(graph: Graph, node: Node) -> list[Node]:
    name, source, axis = node.name, graph[node.inputs[0]], node.attributes(Resample).axis
    weight = node.params["weight"]
    params = {"weight": weight, "bias": torch.zeros(len(weight), dtype=weight.dtype)}
    axes = list(range(len(node.shape.dims)))
    perm = (*axes[:axis], *axes[axis + 1 :], axis)
    back = tuple(perm.index(each) for each in axes)

    def moved(shape: Shape) -> Shape:
        at = None if shape.batch_axis is None else perm.index(shape.batch_axis)
        return Shape(tuple(shape.dims[each] for each in perm), at)

    if perm == tuple(axes):
        return [Node(Linear(), name, (source.name,), node.shape, params)]
    return [
        Node(Permute(perm), f"{name}.to_last", (source.name,), moved(source.shape)),
        Node(Linear(), name, (f"{name}.to_last",), moved(node.shape), params),
        Node(Permute(back), f"{name}.from_last", (name,), node.shape),
    ]

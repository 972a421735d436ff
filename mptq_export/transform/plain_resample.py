"""Resizing along an axis as a linear layer over that axis: runtimes agree on a matrix, not on what to call resizing."""

import math

import torch

from mptq_export.capture.graph import Graph, Node, Shape
from mptq_export.capture.ops import Linear, Permute, Resample, Reshape


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
    first, last = moved(source.shape), moved(node.shape)
    return [  # as rows: runtimes take a layer over a map of four axes for one over its channels
        Node(Permute(perm), f"{name}.to_last", (source.name,), first),
        Node(Reshape(), f"{name}.rows", (f"{name}.to_last",), _rows(first)),
        Node(Linear(), name, (f"{name}.rows",), _rows(last), params),
        Node(Reshape(), f"{name}.full", (name,), last),
        Node(Permute(back), f"{name}.from_last", (f"{name}.full",), node.shape),
    ]


def _rows(shape: Shape) -> Shape:
    """All axes but the images and the last as one."""
    images, *others, last = shape.dims
    return Shape((images, math.prod(others), last), 0) if shape.batch_axis == 0 and others else shape

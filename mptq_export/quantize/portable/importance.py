"""How much the rows of any value count: importance is measured at layers (`row_importance.py`), and follows the graph.

What is added to a residual has the gradient of the sum, so that rows of a residual count as those of the layer that
was added last; rows that a norm or an activation function gives count as those of the layer that reads them.
"""

import math

import torch

from mptq_export.capture.evaluate import compute
from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Activation, Add, LayerNorm, Linear, Reshape, Weighted

Importance = dict[str, torch.Tensor]
"""Float64 [rows] by the name of the layer."""


def importance_of(graph: Graph, value: str, layers: Importance) -> torch.Tensor | None:
    """Importance of the rows of a value.

    Args:
        graph: the graph.
        value: a value that is computed.
        layers: of every layer's rows; empty where all count alike.

    Returns:
        Float64 [rows], in the order of the value's own; None where it is not known.
    """
    node = graph[value]
    if isinstance(node.op, Weighted):
        return layers.get(value)
    if isinstance(node.op, Add):
        for name in node.inputs:
            if graph[name].shape == node.shape and (found := _moved(graph, name, layers)) is not None:
                return found
    return _of_readers(graph, node, layers)


def read_importance(graph: Graph, value: str, layers: Importance) -> torch.Tensor | None:
    """Importance of the rows of a value that a linear layer reads, in the order of the value's own; None: not known."""
    for reader, name in graph.final_readers(value) or ():
        if isinstance(reader.op, Linear) and reader.name in layers and _keeps_rows(graph, name):
            return layers[reader.name]
    return None


def _of_readers(graph: Graph, node: Node, layers: Importance) -> torch.Tensor | None:
    found = read_importance(graph, node.name, layers)
    if found is not None:
        return found
    for reader, name in graph.final_readers(node.name) or ():
        if not _keeps_rows(graph, name):
            continue
        if isinstance(reader.op, LayerNorm | Activation) and (of := _of_readers(graph, reader, layers)) is not None:
            return of
        if isinstance(reader.op, Add) and reader.shape == node.shape:  # the first sum of a stream: what is added next
            of = importance_of(graph, reader.name, layers)
            if of is not None:
                return of
    return None


def _keeps_rows(graph: Graph, value: str) -> bool:
    """Whether a value has the rows of what computes it, in the same order."""
    root, steps = graph.path(value)
    return all(isinstance(step.op, Reshape) for step in steps) and graph[value].shape.dims[-1] == root.shape.dims[-1]


def _moved(graph: Graph, value: str, layers: Importance) -> torch.Tensor | None:
    """Importance of the rows of a layer's result where it was moved to."""
    root, steps = graph.path(value)
    found = layers.get(root.name)
    if found is None or graph[value].shape.dims[-1] != root.shape.dims[-1]:
        return None
    if all(isinstance(step.op, Reshape) for step in steps):
        return found
    shape = root.shape.at(len(found) // math.prod(root.shape.dims[:-1]))
    moved = found.reshape(*shape[:-1], 1).expand(shape)
    for step in steps:
        moved = compute(step, [moved])
    return moved[..., 0].reshape(-1)

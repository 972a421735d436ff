"""Activation functions as runtimes have them: a ReLU is one, and `x sigmoid(slope x)` a sigmoid and a product.

QuickGELU is SiLU of a steeper argument, `1.702 x` in the layer before and `1 / 1.702` in the layers behind, where
linear layers are all that is there: no product with a constant, and no codes for one.
"""

from dataclasses import replace

import torch

from mptq_export.capture.activations import FUNCTIONS
from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Activation, Linear, Mul, Product, Relu
from mptq_export.transform.channels import owned


def plain_activations(graph: Graph, *, inner_codes: bool) -> Graph:
    """Write sigmoid-weighted functions with a slope of one; in two ops where each of them has codes of its own.

    A ReLU becomes an activation function like all others, which reads codes.

    Args:
        graph: any canonical graph.
        inner_codes: whether every op within a function has codes.

    Preserves: the output.
    """
    relus = (node for node in graph if isinstance(node.op, Relu))
    graph = graph.updated({node.name: replace(node, op=Activation("relu")) for node in relus})
    for name in list(graph.nodes):
        graph = _steepened(graph, graph[name])
    if not inner_codes:
        return graph
    return graph.expanded({node.name: _in_two(node) for node in graph if _slope(node) is not None})


def _slope(node: Node) -> float | None:
    return FUNCTIONS[node.op.function].slope if isinstance(node.op, Activation) else None


def _steepened(graph: Graph, node: Node) -> Graph:
    """A QuickGELU between linear layers as SiLU; other graphs as they are."""
    slope = _slope(node)
    if slope is None or slope == 1:
        return graph
    before, readers = owned(graph, node.inputs[0], Linear), graph.final_readers(node.name)
    alone = before is not None and graph.final_readers(before.name) == [(node, node.inputs[0])]
    if before is None or not alone or readers is None or any(not isinstance(r.op, Linear) for r, _ in readers):
        return graph
    changes = {before.name: _scaled(before, slope, bias=True)}
    changes |= {reader.name: _scaled(reader, 1 / slope, bias=False) for reader, _ in readers}
    return graph.updated({**changes, node.name: replace(node, op=Activation("silu"))})


def _scaled(node: Node, factor: float, *, bias: bool) -> Node:
    weight, old = node.params["weight"], node.params["bias"]
    new = (old.double() * factor).to(old) if bias else old
    return replace(node, params={"weight": (weight.double() * factor).to(weight), "bias": new})


def _in_two(node: Node) -> list[Node]:
    name, source, slope = node.name, node.inputs[0], _slope(node)
    assert slope is not None, name
    steep: list[Node] = []
    if slope != 1:
        steep = [Node(Mul(), f"{name}.steep", (source,), node.shape, {"value": torch.tensor([slope])})]
    sigmoid = Node(Activation("sigmoid"), f"{name}.sigmoid", ((steep[0].name if steep else source),), node.shape)
    return [*steep, sigmoid, replace(node, op=Product(), inputs=(source, sigmoid.name))]

"""How much a graph computes."""

import math

from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Constant, Input, LayerNorm, Matmul, Movement, Weighted
from mptq_export.support.size import Size


def size_of_node(graph: Graph, node: Node) -> Size:
    """Of one node."""
    if isinstance(node.op, Constant | Input | Movement):
        return Size()
    numbers, last = float(math.prod(node.shape.at(1))), float(node.shape.dims[-1])
    if isinstance(node.op, Matmul):
        return Size(multiplications(graph, node), numbers, channels=last, layers=1.0)
    if isinstance(node.op, LayerNorm):
        return Size(numbers=numbers, norms=numbers, channels=last)
    if isinstance(node.op, Weighted):
        outputs, *inputs = node.params["weight"].shape
        return Size.of_layer(numbers / outputs, math.prod(inputs), outputs)
    return Size(numbers=numbers)


def size_of(graph: Graph) -> Size:
    """Of a canonical graph."""
    return sum((size_of_node(graph, node) for node in graph), Size())


def multiplications(graph: Graph, node: Node) -> int:
    """Multiply-accumulates of a layer or of a product of attention for one image."""
    outputs = math.prod(node.shape.at(1))
    if isinstance(node.op, Matmul):
        return outputs * graph[node.inputs[0]].shape.dims[-1]
    return outputs * math.prod(node.params["weight"].shape[1:])

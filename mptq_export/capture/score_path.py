"""The way of attention scores from the matmul that makes them to their softmax."""

from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Add, Constant, Matmul, Movement


def score_path(graph: Graph, softmax: Node) -> tuple[Node, list[Node]]:
    """What computes the scores that a softmax reads, and the steps between them (constant additions and movement).

    That is a matmul, or what scales or mixes the scores of a matmul. Where something else reads it too (a softmax over
    tokens reads a part of a layer's output), the scores are the softmax's own input.
    """
    steps: list[Node] = []
    node = graph[softmax.inputs[0]]
    while isinstance(node.op, Add | Movement):
        live = [name for name in node.inputs if not isinstance(graph[name].op, Constant)]
        if len(live) != 1:
            break
        steps.insert(0, node)
        node = graph[live[0]]
    if not isinstance(node.op, Matmul) and len(graph.consumers()[node.name]) > 1:
        return graph[softmax.inputs[0]], []
    return node, steps

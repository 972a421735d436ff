"""Scores that several softmaxes read are computed for each of them: each has a scale of its own in the file."""

from dataclasses import replace

from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Matmul, Softmax
from mptq_export.capture.score_path import score_path


def own_scores(graph: Graph) -> Graph:
    """Give every softmax a matmul of its own, and steps from there.

    Preserves: the output.
    """
    seen: set[str] = set()
    for softmax in [node for node in graph if isinstance(node.op, Softmax)]:
        scores, steps = score_path(graph, softmax)
        if scores.name in seen and isinstance(scores.op, Matmul):
            graph = _copied(graph, softmax, [scores, *steps])
        seen.add(scores.name)
    return graph


def _copied(graph: Graph, softmax: Node, path: list[Node]) -> Graph:
    """The graph in which a softmax reads copies of the nodes of a path."""
    copies: list[Node] = []
    for node in path:
        before = {path[len(copies) - 1].name: copies[-1].name} if copies else {}
        inputs = tuple(before.get(name, name) for name in node.inputs)
        copies.append(replace(node, name=f"{softmax.name}.{node.name}", inputs=inputs))
    nodes: list[Node] = []
    for node in graph:
        nodes += [*copies, replace(softmax, inputs=(copies[-1].name,))] if node.name == softmax.name else [node]
    return Graph(nodes, graph.output)

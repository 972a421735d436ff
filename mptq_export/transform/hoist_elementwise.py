"""Sums and ReLUs of maps are computed in front of the permutation to channels first, which mostly meets its inverse.

`relu(P x) = P relu(x)` and `P a + P b = P (a + b)` for any permutation P of the axes. Convolutions are captured with
channels last around them, so that P and the inverse in front of the next one cancel: no float map is transposed.
"""

from dataclasses import replace

from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Add, Permute, Relu


def hoist_elementwise(graph: Graph) -> Graph:
    """Move every ReLU, and every sum of two values that are permuted alike, in front of the permutation.

    Preserves: the output.
    """
    for name in list(graph.nodes):
        node = graph[name]
        if isinstance(node.op, Relu | Add) and name != graph.output:
            graph = _hoisted(graph, node)
    return graph


def _hoisted(graph: Graph, node: Node) -> Graph:
    before = [graph[source] for source in node.inputs]
    first = before[0]
    alike = all(each.op == first.op and each.shape == node.shape for each in before)
    if not isinstance(first.op, Permute) or not alike:
        return graph
    sources = tuple(each.inputs[0] for each in before)
    own = replace(node, name=f"{node.name}.own", inputs=sources, shape=graph[sources[0]].shape)
    if any(graph[source].shape != own.shape for source in sources):
        return graph
    return graph.expanded({node.name: [own, replace(first, name=node.name, inputs=(own.name,))]})

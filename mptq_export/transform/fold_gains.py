"""Gains and offsets that stand behind a layer norm become its own.

Norms that a model writes out, or that stand on channels-first maps, are captured without them:
`(n * weight + bias) * c + d = n * (c weight) + (c bias + d)`, moved or not.
"""

from dataclasses import replace

from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Add, Constant, LayerNorm, Mul, Windows
from mptq_export.transform.channels import owned, per_channel


def fold_gains(graph: Graph) -> Graph:
    """Remove every product with one number a channel of a norm, and every such sum, if nothing else reads the norm.

    Preserves: the output.
    """
    for name in list(graph.nodes):
        node = graph[name]
        live = [n for n in node.inputs if not isinstance(graph[n].op, Constant)]
        if not isinstance(node.op, Mul | Add) or len(live) != 1:
            continue
        constants = [graph[n].params["value"] for n in node.inputs if n not in live]
        constant = node.params["value"] if isinstance(node.op, Mul) else constants[0]
        norm = _norm(graph, node, live[0])
        column = None if norm is None or constant.numel() == 1 else per_channel(graph, live[0], constant)
        if norm is None or column is None:
            continue
        if isinstance(node.op, Mul):
            params = {key: value * column for key, value in norm.params.items()}
        else:
            params = {**norm.params, "bias": norm.params["bias"] + column}
        graph = graph.updated({norm.name: replace(norm, params=params)}).bypassed({name: live[0]})
    return graph


def _norm(graph: Graph, node: Node, value: str) -> Node | None:
    """The norm that gives `value`, which only `node` reads; None where a gain or an offset cannot go there."""
    norm = owned(graph, value, LayerNorm)
    if norm is None or norm.attributes(LayerNorm).plain or graph[value].shape != node.shape:
        return None
    if isinstance(node.op, Add) and any(isinstance(step.op, Windows) for step in graph.path(value)[1]):
        return None  # the zeros around windows would not have the offset
    return norm if [reader.name for reader in graph.consumers()[value]] == [node.name] else None

"""Data that two layers move alike is moved once, and becomes codes once: windows of a map that two heads read."""

from mptq_export.capture.graph import Graph
from mptq_export.capture.ops import Movement, Op


def share_movement(graph: Graph) -> Graph:
    """Remove movement that moves a value as movement before it does.

    Preserves: the output, and the name of a value that is the output.
    """
    seen: dict[tuple[Op, str], str] = {}
    removed: dict[str, str] = {}
    for node in graph:
        if not isinstance(node.op, Movement) or node.name == graph.output:
            continue
        source = removed.get(node.inputs[0], node.inputs[0])
        first = seen.setdefault((node.op, source), node.name)
        if first != node.name and graph[first].shape == node.shape:
            removed[node.name] = first
    return graph.bypassed(removed) if removed else graph

"""How long a walk through a graph needs each value, and what that takes in memory."""

import math
from collections.abc import Collection
from itertools import accumulate

from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Constant, Input, LayerNorm, Movement


def spare(graph: Graph, node: Node) -> str:
    """Name of an operand of the shape of the result that nothing else reads, moved or not; "" where there is none.

    The input of a layer norm stays: SQ-b computes the norm again.
    """
    readers = graph.consumers()
    for name in node.inputs if not isinstance(node.op, LayerNorm) else ():
        root, chain = graph.path(name)
        names = {root.name, name, *(step.name for step in chain)}
        alone = all(len(readers[each]) == 1 for each in names) and graph.output not in names
        if alone and not isinstance(root.op, Input | Constant) and graph[name].shape == node.shape:
            return name
    return ""


def values_at_once(graph: Graph, deferred: Collection[str] = ()) -> int:
    """The most numbers of one image that a walk through a graph holds at a time.

    What only moves data counts once, and so does a result that takes the place of an operand.

    Args:
        graph: what is walked.
        deferred: names of the values that are not held: what they are computed from is, as long as they are read.
    """
    last = {name: position for position, node in enumerate(graph) for name in node.inputs}
    for node in reversed(list(graph)):
        if node.name in deferred:
            last.update((name, max(last[name], last[node.name])) for name in node.inputs)
    owner: dict[str, str] = {}
    size: dict[str, int] = {}
    until: dict[str, int] = {}
    for position, node in enumerate(graph):
        place = node.inputs[0] if isinstance(node.op, Movement) else spare(graph, node)
        owner[node.name] = owner.get(place, node.name)
        if node.shape.batch_axis is not None and node.name not in deferred:
            size.setdefault(owner[node.name], math.prod(node.shape.dims))
        until[owner[node.name]] = max(until.get(owner[node.name], 0), last.get(node.name, position))
    change = [0] * (len(graph.nodes) + 1)
    for position, node in enumerate(graph):
        if numbers := size.get(node.name):
            change[position] += numbers
            change[until[node.name] + 1] -= numbers
    return max(accumulate(change))

"""Layers that a model calls at several places with the same weights, such as a head over the levels of a pyramid.

Each call is a layer of the graph with a name of its own, and reads and gives values of its own. The weights are one
tensor of the model, and so are their codes: chosen once, with what all calls read, and stored once.
"""

from collections.abc import Mapping

import torch

from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Weighted


def calls(graph: Graph) -> dict[str, tuple[str, ...]]:
    """Of every layer with weights the names of all calls of it, itself among them, in graph order.

    Layers are one where their weights come from the same tensors of the model and are still equal (a transform may have
    changed those of one call alone), and all that the calls read can be computed before the first of them: codes are
    chosen for all calls at once. So a layer that reads what it gave before stays a layer a call.

    Args:
        graph: canonical graph.
    """
    found: dict[str, tuple[str, ...]] = {}
    origins: dict[tuple[str, ...], list[Node]] = {}
    for node in graph:
        if isinstance(node.op, Weighted):
            found[node.name] = (node.name,)
            if node.weights_of:
                origins.setdefault(node.weights_of, []).append(node)
    for nodes in origins.values():
        for alike in _alike(nodes) if len(nodes) > 1 else ():
            names = tuple(node.name for node in alike)
            together = found | dict.fromkeys(names, names)
            if len(names) > 1 and in_order(graph, together) is not None:
                found = together
    return found


def in_order(graph: Graph, together: Mapping[str, tuple[str, ...]]) -> list[str] | None:
    """Names of all nodes in an order in which they can be computed, graph order where nothing else is asked for.

    Args:
        graph: canonical graph.
        together: of some nodes the names of those that stand beside each other, itself among them.

    Returns:
        The names; None where there is no such order.
    """
    position = {name: index for index, name in enumerate(graph.nodes)}
    order: dict[str, None] = {}
    begun: set[str] = set()
    for wanted in position:
        pending = [wanted]
        while pending:
            name = pending[-1]
            beside = together.get(name, (name,))
            missing = {source for each in beside for source in graph[each].inputs if source not in order}
            if name in order:
                pending.pop()
            elif not missing:
                order.update(dict.fromkeys(beside))
            elif beside[0] in begun:  # what is missing waits for these themselves
                return None
            else:
                begun.add(beside[0])
                pending += sorted(missing, key=lambda source: -position[source])
    return list(order)


def _alike(nodes: list[Node]) -> list[list[Node]]:
    """The nodes in groups of the same op and the same weights."""
    groups: list[list[Node]] = []
    for node in nodes:
        for group in groups:
            if _same(group[0], node):
                group.append(node)
                break
        else:
            groups.append([node])
    return groups


def _same(one: Node, other: Node) -> bool:
    return one.op == other.op and all(
        value.dtype == other.params[name].dtype and torch.equal(value, other.params[name])
        for name, value in one.params.items()
    )

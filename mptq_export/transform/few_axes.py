"""Permutations of more axes than accelerators have, as several of four axes each.

An axis goes to its place past the block of axes that stand before it: `[before, block, axis, after]` becomes
`[before, axis, block, after]`, whatever each of the four is made of.
"""

import math
from dataclasses import replace

from mptq_export.capture.graph import Graph, Node, Shape
from mptq_export.capture.ops import Permute, Reshape

#: Axes that a tensor can have on accelerators.
MOST_AXES = 5


def few_axes(graph: Graph) -> Graph:
    """Write permutations of too many axes, in which images come first and stay there, as several.

    Preserves: the output.
    """
    found = {}
    for node in graph:
        many = isinstance(node.op, Permute) and len(node.shape.dims) > MOST_AXES
        if many and node.attributes(Permute).perm[0] == 0 and node.shape.batch_axis == 0:
            found[node.name] = _in_steps(graph, node)
    return graph.expanded(found)


def _in_steps(graph: Graph, node: Node) -> list[Node]:
    order = list(range(len(node.shape.dims)))
    sizes = graph[node.inputs[0]].shape.dims
    steps: list[Node] = []
    source = node.inputs[0]
    for place, axis in enumerate(node.attributes(Permute).perm):
        at = order.index(axis)
        if at == place:
            continue
        groups = order[:place], order[place:at], [axis], order[at + 1 :]
        dims = tuple(math.prod(sizes[each] for each in group) for group in groups)
        cut = Node(Reshape(), f"{node.name}.cut{place}", (source,), Shape(dims, 0))
        turned = Shape((dims[0], dims[2], dims[1], dims[3]), 0)
        steps += [cut, Node(Permute((0, 2, 1, 3)), f"{node.name}.turn{place}", (cut.name,), turned)]
        source, order = steps[-1].name, [*order[:place], axis, *order[place:at], *order[at + 1 :]]
    return [*steps, replace(node, op=Reshape(), inputs=(source,))]

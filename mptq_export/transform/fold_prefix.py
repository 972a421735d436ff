"""Class, distillation and register tokens become one constant, added to a zero-padded sequence.

`concat(c, x) = pad(x) + [c; 0]`, and constants that are added one after the other are added once. The graph then
holds no concatenation with a constant that would have to be repeated for every image of a batch.
"""

from dataclasses import replace

import torch

from mptq_export.capture.graph import Graph, Node, Shape
from mptq_export.capture.ops import Add, Concat, Constant, Pad


def fold_prefix(graph: Graph) -> Graph:
    """Rewrite concatenations of constants with one activation, and merge chains of constant additions.

    Preserves: the output.
    """
    nodes: list[Node] = []
    for node in graph:
        nodes += _padded(graph, node) if isinstance(node.op, Concat) else [node]
    return _merged(Graph(nodes, graph.output))


def _padded(graph: Graph, node: Node) -> list[Node]:
    live = [i for i, name in enumerate(node.inputs) if graph[name].shape.batch_axis is not None]
    if len(live) != 1:
        return [node]
    axis = node.attributes(Concat).axis
    parts = [
        graph[name].params["value"] if i != live[0] else torch.zeros(graph[name].shape.dims)
        for i, name in enumerate(node.inputs)
    ]
    table = torch.cat(parts, axis)
    before = sum(graph[name].shape.dims[axis] for name in node.inputs[: live[0]])
    after = node.shape.dims[axis] - before - graph[node.inputs[live[0]]].shape.dims[axis]
    pad = Node(Pad(axis, before, after), f"{node.name}.pad", (node.inputs[live[0]],), node.shape)
    constant = Node(Constant(), f"{node.name}.tokens", (), Shape(tuple(table.shape), None), {"value": table})
    return [pad, constant, Node(Add(), node.name, (pad.name, constant.name), node.shape)]


def _merged(graph: Graph) -> Graph:
    """`(x + c1) + c2 = x + (c1 + c2)` where nothing else reads the inner sum."""
    for name in list(graph.nodes):
        node = graph[name]
        if not isinstance(node.op, Add):
            continue
        for inner_name, constant_name in (node.inputs, node.inputs[::-1]):
            inner = graph[inner_name]
            if (
                not isinstance(graph[constant_name].op, Constant)
                or not isinstance(inner.op, Add)
                or len(graph.consumers()[inner_name]) != 1
            ):
                continue
            other = next((n for n in inner.inputs if isinstance(graph[n].op, Constant)), None)
            if other is None:
                continue
            value = graph[other].params["value"] + graph[constant_name].params["value"]
            total = Node(Constant(), f"{node.name}.constant", (), Shape(tuple(value.shape), None), {"value": value})
            rest = next(n for n in inner.inputs if n != other)
            nodes = []
            for each in graph:
                if each.name == node.name:
                    nodes += [total, replace(node, inputs=(rest, total.name))]
                elif each.name != inner_name:
                    nodes.append(each)
            graph = Graph(nodes, graph.output)
            break
    return graph

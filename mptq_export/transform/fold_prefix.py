"""Class, distillation and register tokens become one constant, added to a zero-padded sequence.

`concat(c, x) = pad(x) + [c; 0]`, and constants that are added one after the other are added once. The graph then
holds no concatenation with a constant that would have to be repeated for every image of a batch.
"""

from dataclasses import replace

import torch

from mptq_export.capture.graph import Graph, Node, Shape
from mptq_export.capture.ops import Add, Concat, Constant, Pad


def fold_prefix(graph: Graph) -> Graph:
    """Rewrite concatenations of constants with activations, and merge chains of constant additions.

    Preserves: the output.
    """
    nodes: list[Node] = []
    for node in graph:
        nodes += _padded(graph, node) if isinstance(node.op, Concat) else [node]
    return _merged(Graph(nodes, graph.output))


def _padded(graph: Graph, node: Node) -> list[Node]:
    """A concatenation, in which each computed value has the constants beside it as a part of its own."""
    constant = [graph[name].shape.batch_axis is None for name in node.inputs]
    if not any(constant) or all(constant):
        return [node]
    starts = [i for i, fixed in enumerate(constant) if not fixed]  # constants go with the value in front of them
    parts = zip([0, *starts[1:]], [*starts[1:], len(constant)], strict=True)
    if len(starts) == 1:
        return _part(graph, node, node, range(len(constant)))
    axis, nodes, names = node.attributes(Concat).axis, [], []
    for i, (low, high) in enumerate(parts):
        if high == low + 1:
            names.append(node.inputs[low])
            continue
        size = sum(graph[name].shape.dims[axis] for name in node.inputs[low:high])
        dims = (*node.shape.dims[:axis], size, *node.shape.dims[axis + 1 :])
        part = replace(node, name=f"{node.name}.part{i}", shape=replace(node.shape, dims=dims))
        nodes += _part(graph, node, part, range(low, high))
        names.append(part.name)
    return [*nodes, replace(node, inputs=tuple(names))]


def _part(graph: Graph, node: Node, part: Node, positions: range) -> list[Node]:
    """One computed value among constants.

    Args:
        graph: the graph.
        node: the concatenation.
        part: has the name and the shape of the result.
        positions: of its inputs.
    """
    axis = node.attributes(Concat).axis
    names = [node.inputs[i] for i in positions]
    live = next(i for i, name in enumerate(names) if graph[name].shape.batch_axis is not None)
    parts = [
        graph[name].params["value"] if i != live else torch.zeros(graph[name].shape.dims)
        for i, name in enumerate(names)
    ]
    table = torch.cat(parts, axis)
    before = sum(graph[name].shape.dims[axis] for name in names[:live])
    after = part.shape.dims[axis] - before - graph[names[live]].shape.dims[axis]
    pad = Node(Pad(axis, before, after), f"{part.name}.pad", (names[live],), part.shape)
    constant = Node(Constant(), f"{part.name}.tokens", (), Shape(tuple(table.shape), None), {"value": table})
    return [pad, constant, Node(Add(), part.name, (pad.name, constant.name), part.shape)]


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

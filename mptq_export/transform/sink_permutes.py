"""Tokens that are put in front of a value whose axes were exchanged are put in front of the value itself.

`pad(P x) + c = P (pad'(x) + P^-1 c)`: the exchange then stands behind the sum. That is done where all readers exchange
the axes back, so that nothing is left of both; a runtime would do it itself, with kernels of its own.
"""

from dataclasses import replace

from mptq_export.capture.graph import Graph, Node, Shape
from mptq_export.capture.ops import Add, Constant, Pad, Permute
from mptq_export.transform.merge_movement import merge_movement


def sink_permutes(graph: Graph) -> Graph:
    """Move exchanges of axes behind padded tokens.

    Preserves: the output.
    """
    before = graph
    for pad in [node for node in graph if isinstance(node.op, Pad)]:
        moved = graph[pad.inputs[0]]
        readers = graph.consumers()[pad.name]
        if isinstance(moved.op, Permute) and len(readers) == 1 and isinstance(readers[0].op, Add):
            graph = _sunk(graph, moved, pad, readers[0]) or graph
    return graph if graph is before else merge_movement(graph.pruned())


def _sunk(graph: Graph, moved: Node, pad: Node, total: Node) -> Graph | None:
    """The graph with the exchange behind the sum; None where it would stay, or the sum's tokens have fewer axes."""
    other = graph[next((name for name in total.inputs if name != pad.name), pad.name)]
    perm = moved.attributes(Permute).perm
    if not isinstance(other.op, Constant) or len(other.shape.dims) != len(perm) or total.shape != pad.shape:
        return None
    inverse = tuple(perm.index(axis) for axis in range(len(perm)))
    readers = graph.consumers()[total.name]
    if total.name == graph.output or not readers or any(reader.op != Permute(inverse) for reader in readers):
        return None
    shape = Shape(tuple(pad.shape.dims[axis] for axis in inverse), graph[moved.inputs[0]].shape.batch_axis)
    own = replace(pad.attributes(Pad), axis=perm[pad.attributes(Pad).axis])
    value = other.params["value"].permute(inverse).contiguous()
    tokens = Node(Constant(), f"{total.name}.own_tokens", (), Shape(tuple(value.shape), None), {"value": value})
    placed = replace(pad, op=own, inputs=moved.inputs, shape=shape)
    summed = replace(total, name=f"{total.name}.own", inputs=(pad.name, tokens.name), shape=shape)
    back = Node(Permute(perm), total.name, (summed.name,), total.shape)
    nodes: list[Node] = []
    for node in graph:
        nodes += [placed] if node.name == pad.name else [tokens, summed, back] if node.name == total.name else [node]
    return Graph(nodes, graph.output)

"""The factor of a product of two values moves into what gives one of them: runtimes multiply matrices without a factor.

For scores it is the scale of the queries: `(alpha W_q) x + alpha b_q`. It also goes into a constant, into the gain and
offset of a norm, or into the tables of a rotation. Where nothing takes it, it is a product with a constant.
"""

from dataclasses import replace

import torch

from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Constant, LayerNorm, Linear, Matmul, Mul, Rotary
from mptq_export.transform.channels import channel_numbers

#: What takes a factor with all of its tensors, where one matmul alone reads it.
_Scalable = Constant | LayerNorm | Rotary | Mul


def fold_alpha(graph: Graph) -> Graph:
    """Fold the factor of every matmul.

    Preserves: the output.
    """
    for name in list(graph.nodes):
        node = graph[name]
        if not isinstance(node.op, Matmul) or node.op.alpha == 1:
            continue
        changed = next((found for at in range(2) if (found := _taking(graph, node, at)) is not None), None)
        plain = replace(node, op=Matmul())
        if changed is not None:
            graph = graph.updated({name: plain, changed.name: changed})
        else:
            factor = {"value": torch.tensor([node.op.alpha])}
            graph = graph.expanded({name: [plain, Node(Mul(), f"{name}.scaled", (name,), node.shape, factor)]})
    return graph


def _taking(graph: Graph, node: Node, position: int) -> Node | None:
    """What gives an operand, with the factor of the matmul in it; None where that would change another value."""
    alpha, value = node.attributes(Matmul).alpha, node.inputs[position]
    if node.inputs[0] == node.inputs[1]:
        return None
    source = graph.root(value)
    if isinstance(source.op, _Scalable) and graph.final_readers(source.name) == [(node, value)]:
        plain = isinstance(source.op, LayerNorm) and source.op.plain
        return None if plain else _times(source, alpha)
    rows = _own_rows(graph, node, source, value)
    if rows is None:
        return None
    factor = torch.ones(source.shape.dims[-1], dtype=torch.float64, device=source.params["weight"].device)
    factor[rows] = alpha
    weight, bias = source.params["weight"], source.params["bias"]
    scaled = {"weight": (weight.double() * factor[:, None]).to(weight), "bias": (bias.double() * factor).to(bias)}
    return replace(source, params=scaled)


def _times(node: Node, factor: float) -> Node:
    return replace(node, params={name: (value.double() * factor).to(value) for name, value in node.params.items()})


def _own_rows(graph: Graph, node: Node, layer: Node, operand: str) -> torch.Tensor | None:
    """Output channels of a layer that a matmul reads in one operand, where no one else reads any of them."""
    if not isinstance(layer.op, Linear):
        return None
    readers = graph.final_readers(layer.name) or []
    mine = [value for reader, value in readers if reader.name == node.name and value == operand]
    if len(mine) != 1:
        return None
    rows = torch.tensor(sorted({*channel_numbers(graph, mine[0]).flatten().tolist()}))
    for reader, value in readers:
        other = reader.name != node.name or value != operand
        if other and bool(torch.isin(channel_numbers(graph, value), rows).any()):
            return None
    return rows

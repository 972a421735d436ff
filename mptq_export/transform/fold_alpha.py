"""The factor of a product of two values moves into the linear layer that gives the first of them.

Runtimes multiply matrices without a factor. For scores it is the scale of the queries: `(alpha W_q) x + alpha b_q`.
"""

from dataclasses import replace

import torch

from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Linear, Matmul
from mptq_export.transform.channels import channel_numbers


def fold_alpha(graph: Graph) -> Graph:
    """Fold the factor of every matmul whose first operand is channels of a linear layer that nothing else reads.

    Preserves: the output. Other matmuls keep their factor.
    """
    for name in list(graph.nodes):
        node = graph[name]
        if not isinstance(node.op, Matmul) or node.op.alpha == 1:
            continue
        layer = graph.root(node.inputs[0])
        rows = _own_rows(graph, node, layer)
        if rows is None:
            continue
        factor = torch.ones(layer.shape.dims[-1], dtype=torch.float64, device=layer.params["weight"].device)
        factor[rows] = node.op.alpha
        params = {
            "weight": (layer.params["weight"].double() * factor[:, None]).to(layer.params["weight"]),
            "bias": (layer.params["bias"].double() * factor).to(layer.params["bias"]),
        }
        graph = graph.updated({name: replace(node, op=Matmul()), layer.name: replace(layer, params=params)})
    return graph


def _own_rows(graph: Graph, node: Node, layer: Node) -> torch.Tensor | None:
    """Output channels of a layer that a matmul reads first, where no one else reads any of them."""
    if not isinstance(layer.op, Linear):
        return None
    readers = graph.final_readers(layer.name) or []
    mine = [value for reader, value in readers if reader.name == node.name and value == node.inputs[0]]
    if len(mine) != 1 or node.inputs[0] == node.inputs[1]:
        return None
    rows = torch.tensor(sorted({*channel_numbers(graph, mine[0]).flatten().tolist()}))
    for reader, value in readers:
        other = reader.name != node.name or value != node.inputs[0]
        if other and bool(torch.isin(channel_numbers(graph, value), rows).any()):
            return None
    return rows

"""Constant factors go into what is multiplied anyway.

LayerScale and head averages: `c * (W x + b) = (c W) x + c b`. The scale of the queries: `(c q) k^T = c (q k^T)`, a
factor of the scores that costs nothing because it becomes part of their quantization scale.
"""

from dataclasses import replace

import torch

from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Add, Matmul, Movement, Mul
from mptq_export.transform.channels import owned_layer, per_channel


def fold_multipliers(graph: Graph) -> Graph:
    """Remove every `mul` whose factor a linear layer or a matmul can absorb.

    Preserves: the output. A `mul` that nothing can absorb stays.
    """
    for name in list(graph.nodes):
        node = graph.nodes.get(name)
        if node is None or not isinstance(node.op, Mul):
            continue
        factor = node.params["value"]
        folded = None
        if [reader.name for reader in graph.consumers()[node.inputs[0]]] == [node.name]:
            folded = _scaled(graph, graph[node.inputs[0]], factor)
        if folded is None and factor.numel() == 1:
            folded = _into_readers(graph, node)
        if folded is not None:
            graph = graph.updated({n.name: n for n in folded}).bypassed({node.name: node.inputs[0]})
    return graph


def _scaled(graph: Graph, node: Node, factor: torch.Tensor) -> list[Node] | None:
    """Nodes that make `node` compute its value times `factor` (scalar, or one a channel of a linear layer)."""
    layer = owned_layer(graph, node.name)
    if layer is not None:
        column = per_channel(graph, node.name, factor)
        if column is None:
            return None
        weight = layer.params["weight"]
        weight = weight * column.reshape(-1, *[1] * (weight.dim() - 1))
        return [replace(layer, params={"weight": weight, "bias": layer.params["bias"] * column})]
    if factor.numel() != 1:
        return None
    if isinstance(node.op, Matmul):
        return [replace(node, op=Matmul(node.op.alpha * float(factor)))]
    if isinstance(node.op, Add | Movement):
        parts: list[Node] = []
        for name in node.inputs:
            if [n.name for n in graph.consumers()[name]] != [node.name]:
                return None
            scaled = _scaled(graph, graph[name], factor)
            if scaled is None:
                return None
            parts += scaled
        return parts
    return None


def _into_readers(graph: Graph, node: Node) -> list[Node] | None:
    """Scale the matmuls that read a scalar multiple, through data movement."""
    factor = float(node.params["value"])
    matmuls: dict[str, Node] = {}
    pending = [node.name]
    while pending:
        name = pending.pop()
        if name == graph.output:
            return None
        for reader in graph.consumers()[name]:
            if isinstance(reader.op, Movement):
                pending.append(reader.name)
            elif isinstance(reader.op, Matmul) and reader.inputs.count(name) == 1:
                before = matmuls.get(reader.name, reader)
                alpha = before.attributes(Matmul).alpha * factor
                matmuls[reader.name] = replace(before, op=Matmul(alpha))
            else:
                return None
    return list(matmuls.values())

"""SQ-b: move shift and scale of a layer norm's outputs into the linear layers that read it.

`x' = (x - b) / s` per channel: `gamma' = gamma / s`, `beta' = (beta - b) / s`, `W' = W diag(s)`, `bias' = bias + W b`
(MPTQ-ViT, arXiv 2401.14895, section on SQ-b).
"""

from dataclasses import replace

import torch

from mptq_export.capture.graph import MOVEMENT, Graph, Node
from mptq_export.recipe.schema import Smoothing
from mptq_export.transform.channels import channel_numbers, constant_along


def smoothed_readers(graph: Graph, norm: Node) -> list[Node]:
    """The linear layers that read a layer norm, all channels in order; empty where anything else reads it."""
    found: list[Node] = []
    readers = graph.consumers()
    pending = [norm.name]
    while pending:
        name = pending.pop()
        if name == graph.output:
            return []
        for reader in readers[name]:
            if reader.op in MOVEMENT:
                pending.append(reader.name)
                continue
            order = constant_along(channel_numbers(graph, name), -1) if reader.op == "linear" else None
            if order is None or not torch.equal(order, torch.arange(norm.shape.dims[-1])):
                return []
            found.append(reader)
    return found


def smooth(graph: Graph, norm: Node, smoothing: Smoothing) -> Graph:
    """Fold one shift and scale.

    Args:
        graph: any canonical graph.
        norm: a layer norm that has `smoothed_readers`.
        smoothing: what to fold.

    Preserves: the output.
    """
    gamma, beta = norm.params["weight"].double(), norm.params["bias"].double()
    shift, scale = (torch.from_numpy(part).to(gamma.device) for part in (smoothing.shift, smoothing.scale))
    params = {"weight": (gamma / scale).float(), "bias": ((beta - shift) / scale).float()}
    changes = {norm.name: replace(norm, params=params)}
    for node in smoothed_readers(graph, norm):
        weight, bias = node.params["weight"].double(), node.params["bias"].double()
        params = {"weight": (weight * scale).float(), "bias": (bias + weight @ shift).float()}
        changes[node.name] = replace(node, params=params)
    return graph.updated(changes)

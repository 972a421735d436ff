"""SQ-b: move shift and scale of a layer norm's outputs into the linear layers that read it.

`x' = (x - b) / s` per channel: `gamma' = gamma / s`, `beta' = (beta - b) / s`, `W' = W diag(s)`, `bias' = bias + W b`
(MPTQ-ViT, arXiv 2401.14895, section on SQ-b). b and s are searched by `quantize/sq_b.py`.
"""

from dataclasses import replace

import torch

from mptq_export.capture.calls import calls
from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Linear
from mptq_export.recipe.schema import SqB
from mptq_export.transform.channels import channel_numbers, constant_along


def sq_b_readers(graph: Graph, norm: Node) -> list[Node]:
    """The linear layers that read a layer norm, all channels in order; empty where anything else reads it.

    A layer that is called at several places is such a thing: its weight is that of the other calls too.
    """
    called = calls(graph)
    found: list[Node] = []
    channels = torch.arange(norm.shape.dims[-1])
    for reader, value in graph.final_readers(norm.name) or ():
        order = constant_along(channel_numbers(graph, value), -1) if isinstance(reader.op, Linear) else None
        if order is None or not torch.equal(order, channels) or len(called[reader.name]) > 1:
            return []
        found.append(reader)
    return found


def fold_sq_b(graph: Graph, norm: Node, sq_b: SqB) -> Graph:
    """Fold one shift and scale.

    Args:
        graph: any canonical graph.
        norm: a layer norm that has `sq_b_readers`.
        sq_b: what to fold.

    Preserves: the output. What is changed is float64.
    """
    gamma, beta = norm.params["weight"].double(), norm.params["bias"].double()
    shift, scale = (torch.from_numpy(part).to(gamma.device) for part in (sq_b.shift, sq_b.scale))
    params = {"weight": gamma / scale, "bias": (beta - shift) / scale}
    changes = {norm.name: replace(norm, params=params)}
    for node in sq_b_readers(graph, norm):
        weight, bias = node.params["weight"].double(), node.params["bias"].double()
        params = {"weight": weight * scale, "bias": bias + weight @ shift}
        changes[node.name] = replace(node, params=params)
    return graph.updated(changes)

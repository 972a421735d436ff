"""Values of all heads in one range, where queries, keys and values have one scale.

`P (c v) = c (P v)`, which the projection undoes: each head of v gets the factor with which it reaches as far as queries
and keys do, so that the codes of a layer that gives all three are used by all of its channels.
"""

from dataclasses import replace

import torch

from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Softmax
from mptq_export.transform.balance_attention import heads_of, only_matmuls, projection_of
from mptq_export.transform.channels import channel_numbers

#: Share of the elements of a head that its range holds: what clips may clip.
_SHARE = 0.9995


def even_values(graph: Graph, linear: Node, outputs: torch.Tensor) -> Graph:
    """Scale the values that a linear layer gives, and the columns of the projection.

    Args:
        graph: any canonical graph.
        linear: a linear layer; one that gives no values of attention is left as it is.
        outputs: [rows, N], what it gives for calibration images.

    Preserves: the output. What is changed is float64.
    """
    for matmul in only_matmuls(graph, linear):
        softmax = isinstance(graph.root(matmul.inputs[0]).op, Softmax)
        if not softmax or graph.root(matmul.inputs[1]).name != linear.name:
            continue
        heads, projection = heads_of(channel_numbers(graph, matmul.inputs[1])), projection_of(graph, matmul)
        if heads is None or projection is None:
            continue
        reader, order = projection
        reach = torch.stack([_reach(outputs[:, head]) for head in heads.to(outputs.device)])
        others = torch.ones(outputs.shape[1], dtype=torch.bool)
        others[heads.flatten()] = False
        wanted = _reach(outputs[:, others.to(outputs.device)]) if bool(others.any()) else reach.max()
        if not float(wanted) > 0 or not bool((reach > 0).all()):
            continue
        factors = (wanted / reach).repeat_interleave(heads.shape[1])
        rows, columns = heads.flatten().to(outputs.device), order.to(outputs.device)
        weight, bias, read = (part.double().clone() for part in (*_both(graph[linear.name]), reader.params["weight"]))
        weight[rows] *= factors[:, None]
        bias[rows] *= factors
        read[:, columns] /= factors
        linear = replace(graph[linear.name], params={"weight": weight, "bias": bias})
        graph = graph.updated(
            {linear.name: linear, reader.name: replace(reader, params={**reader.params, "weight": read})}
        )
    return graph


def _reach(values: torch.Tensor) -> torch.Tensor:
    """How far a range reaches that holds nearly all values: float64."""
    flat = values.double().abs().flatten()
    return flat.kthvalue(max(1, round(_SHARE * flat.numel()))).values


def _both(node: Node) -> tuple[torch.Tensor, torch.Tensor]:
    return node.params["weight"], node.params["bias"]

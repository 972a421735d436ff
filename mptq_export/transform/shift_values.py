"""Values of attention moved by a constant: the same function, and their codes can lie around its middle.

A constant added to v passes through attention, because its weights sum to one, and goes into the projection's bias:
`P (v + c) = P v + c`.
"""

from dataclasses import replace

import torch

from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Linear, Softmax
from mptq_export.transform.balance_attention import projection_of
from mptq_export.transform.channels import channel_numbers


def movable_values(graph: Graph, matmul: Node, linear: str) -> torch.Tensor | None:
    """The channels of a layer that are the values of an attention matmul and may be moved: int64 [channels].

    Args:
        graph: any canonical graph.
        matmul: reads the layer, and nothing but matmuls does.
        linear: name of the layer.

    Returns:
        None where they are no values of a softmax, or anything but one projection reads what it makes of them.
    """
    first, second = (graph.root(name) for name in matmul.inputs)
    if second.name != linear or not isinstance(first.op, Softmax) or projection_of(graph, matmul) is None:
        return None
    found: torch.Tensor = torch.unique(channel_numbers(graph, matmul.inputs[1]))
    return found


def shift_values(graph: Graph, matmul: Node, linear: Node, amount: float) -> Graph:
    """Add a constant to all values of an attention matmul.

    Args:
        graph: any canonical graph.
        matmul: has `movable_values`.
        linear: the layer that gives them.
        amount: what is added.

    Preserves: the output. What is changed is float64.
    """
    channels, projection = movable_values(graph, matmul, linear.name), projection_of(graph, matmul)
    assert channels is not None and projection is not None
    reader = projection[0]
    bias, out_bias = (node.params["bias"].double().clone() for node in (linear, reader))
    bias[channels.to(bias.device)] += amount
    out_bias -= reader.params["weight"].double().sum(1) * amount
    return graph.updated({linear.name: _with_bias(linear, bias), reader.name: _with_bias(reader, out_bias)})


def _with_bias(node: Node, bias: torch.Tensor) -> Node:
    assert isinstance(node.op, Linear)
    return replace(node, params={**node.params, "bias": bias})

"""RMS norms as layer norms, which runtimes have in integers: of x beside -x the mean is 0.

    rms_norm(x) = layer_norm([x, -x])[:D],  as mean([x, -x]) = 0 and var([x, -x]) = mean(x^2)

Written out in parts instead, an RMS norm has codes of x^2, whose range is the square of that of x.
"""

from dataclasses import replace

import torch

from mptq_export.capture.graph import Graph, Node, Shape
from mptq_export.capture.ops import Concat, LayerNorm, Mul, Slice


def paired_norms(graph: Graph) -> Graph:
    """Write every RMS norm as a layer norm of twice the channels.

    Preserves: the output.
    """
    found = {node.name: _paired(graph, node) for node in graph if _is_rms(node)}
    return graph.expanded(found)


def _is_rms(node: Node) -> bool:
    return isinstance(node.op, LayerNorm) and node.op.centered


def _paired(graph: Graph, node: Node) -> list[Node]:
    name, source, op = node.name, graph[node.inputs[0]], node.attributes(LayerNorm)
    axis, width = len(node.shape.dims) - 1, node.shape.dims[-1]
    shape = source.shape
    twice = Shape((*shape.dims[:-1], 2 * width), shape.batch_axis)
    params = {key: torch.cat([value, value]) for key, value in node.params.items()}
    negative = Node(Mul(), f"{name}.negative", (source.name,), shape, {"value": torch.tensor([-1.0])})
    return [
        negative,
        Node(Concat(axis), f"{name}.both", (source.name, negative.name), twice),
        Node(replace(op, centered=False), f"{name}.pair", (f"{name}.both",), twice, params),
        replace(node, op=Slice(axis, 0, width), inputs=(f"{name}.pair",), params={}),
    ]

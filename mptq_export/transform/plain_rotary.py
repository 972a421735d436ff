"""Rotary position embeddings in ops that every runtime has: `x cos + swap(x) sin`.

The swap is data movement: a roll of the channels by half of them, or of the two channels of a pair. So it keeps the
codes of x.
"""

from dataclasses import replace

from mptq_export.capture.graph import Graph, Node, Shape
from mptq_export.capture.ops import Add, Mul, Reshape, Roll, Rotary


def plain_rotary(graph: Graph) -> Graph:
    """Write every rotation as two products with constants and their sum.

    Preserves: the output.
    """
    return graph.expanded({node.name: _written_out(node) for node in graph if isinstance(node.op, Rotary)})


def _written_out(node: Node) -> list[Node]:
    name, shape, source = node.name, node.shape, node.inputs[0]
    last = len(shape.dims) - 1
    if node.attributes(Rotary).pairs:
        paired = Shape((*shape.dims[:-1], shape.dims[-1] // 2, 2), shape.batch_axis)
        swap = [
            Node(Reshape(), f"{name}.pairs", (source,), paired),
            Node(Roll((1,), (last + 1,)), f"{name}.swapped_pairs", (f"{name}.pairs",), paired),
            Node(Reshape(), f"{name}.swapped", (f"{name}.swapped_pairs",), shape),
        ]
    else:
        swap = [Node(Roll((shape.dims[-1] // 2,), (last,)), f"{name}.swapped", (source,), shape)]
    cos = Node(Mul(), f"{name}.cos", (source,), shape, {"value": node.params["cos"]})
    sin = Node(Mul(), f"{name}.sin", (f"{name}.swapped",), shape, {"value": node.params["sin"]})
    return [*swap, cos, sin, replace(node, op=Add(), inputs=(cos.name, sin.name), params={})]

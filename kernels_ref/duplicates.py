"""Merges nodes that compute the same, as a runtime does before it fuses anything: their results then have one reader.

A quantizer may write a QuantizeLinear and a DequantizeLinear of their own for each reader of a tensor.
"""

from dataclasses import replace
from typing import Any

from kernels_ref.constants import Constants
from kernels_ref.model import Graph, Node
from kernels_ref.ops.types import Array


def merge(graph: Graph, constants: Constants) -> tuple[Graph, tuple[Node, ...]]:
    """One node of each kind.

    Returns:
        The graph, and the nodes that nothing in it needs any more: for those who ask for what they made.
    """
    first: dict[tuple[Any, ...], Node] = {}
    instead: dict[str, str] = {}
    nodes: list[Node] = []
    merged: list[Node] = []
    for node in graph.nodes:
        renamed = tuple(instead.get(name, name) for name in node.inputs)
        key = (
            node.op,
            tuple(_value(name, graph.initializers) for name in renamed),
            repr(sorted(node.attributes.items())),
        )
        earlier = first.setdefault(key, node)
        free = not any(name in graph.outputs or name in constants for name in node.outputs)
        if earlier is not node and free and len(earlier.outputs) == len(node.outputs):
            instead.update(zip(node.outputs, earlier.outputs, strict=True))
            merged.append(node)
        else:
            nodes.append(replace(node, inputs=renamed) if renamed != node.inputs else node)
    return (replace(graph, nodes=tuple(nodes)), tuple(merged)) if merged else (graph, ())


def _value(name: str, initializers: dict[str, Array]) -> Any:
    """What stands for an input: two constants of one element are the same if their values are."""
    value = initializers.get(name)
    return name if value is None or value.size != 1 else (value.dtype.str, value.tobytes())

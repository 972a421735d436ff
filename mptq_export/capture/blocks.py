"""Cuts a graph where a single value carries everything: after every residual sum of a transformer."""

import math
from dataclasses import dataclass

import torch

from mptq_export.capture.evaluate import Compute
from mptq_export.capture.follow_images import images_lead
from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Constant, Input, Matmul, Weighted


@dataclass(frozen=True)
class Block:
    """Consecutive nodes that read one computed value and compute one that later blocks read.

    Attributes:
        source: name of the value that it reads (the graph's input for the first block).
        nodes: in graph order, with the constants that they read.
        result: name of the value that it computes.
    """

    source: str
    nodes: tuple[Node, ...]
    result: str

    def run(self, value: torch.Tensor, compute_node: Compute) -> torch.Tensor:
        """Compute `result` from `source`."""
        values = {self.source: value}
        last = {name: node.name for node in self.nodes for name in node.inputs}
        for node in self.nodes:
            values[node.name] = compute_node(node, [values[name] for name in node.inputs])
            for name in {*node.inputs, node.name} - {self.result}:
                if last.get(name, node.name) == node.name:  # a block may be a whole detector, held at once
                    del values[name]
        return values[self.result]

    @property
    def numbers(self) -> int:
        """How many numbers all its values are, for one image."""
        return sum(math.prod(node.shape.dims) for node in self.nodes if not isinstance(node.op, Constant))


def split_blocks(graph: Graph, *, whole: bool = False) -> list[Block]:
    """All blocks in graph order.

    A block ends at every value of which, of all values so far, alone something is read later, and which is one image
    after the other: a part of it along the first axis belongs to some images. Movement alone makes no block.

    Args:
        graph: canonical graph.
        whole: whether what stands behind the last layer is a block too, so that the last block gives the output.
    """
    last_use = {name: node.name for node in graph for name in node.inputs}
    order = {node.name: position for position, node in enumerate(graph)}
    blocks: list[Block] = []
    pending: list[Node] = []
    source = graph.input.name
    live: set[str] = {source}
    constants = {node.name: node for node in graph if isinstance(node.op, Constant)}
    ends = images_lead(graph)
    for node in graph:
        if isinstance(node.op, Input | Constant):
            continue
        pending.append(node)
        live.add(node.name)
        live = {name for name in live if name == graph.output or order[last_use.get(name, name)] > order[node.name]}
        if live == {node.name} and node.name in ends and any(isinstance(n.op, Weighted | Matmul) for n in pending):
            blocks.append(_block(source, pending, constants, node.name))
            source, pending = node.name, []
    if whole and source != graph.output:
        blocks.append(_block(source, pending, constants, graph.output))
    return blocks


def trunk(graph: Graph) -> Graph:
    """The graph of the output that most of the model computes, alone: in it the others keep no value alive."""
    alone = [Graph(graph, value).pruned() for value in reversed(graph.outputs.values())]
    return max(alone, key=lambda each: len(each.nodes)) if graph.joined else graph


def _block(source: str, nodes: list[Node], constants: dict[str, Node], result: str) -> Block:
    read = {name: constants[name] for node in nodes for name in node.inputs if name in constants}
    return Block(source, (*read.values(), *nodes), result)

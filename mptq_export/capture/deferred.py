"""Values too large to be held for all images: computed again, a few images at a time, whenever they are read.

Attention over the 4,096 tokens of a picture of 1,024 pixels has 201 million scores an image, which are read once and
are small again behind the next product. Between the two products they are never all there.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeGuard, cast

import torch

from mptq_export.capture import ops
from mptq_export.capture.evaluate import Compute, Observer, computed_in, evaluate
from mptq_export.capture.follow_images import images_lead
from mptq_export.capture.graph import Graph, Node

#: Numbers of a value of all images; what has more is computed in parts.
MOST = 1 << 26

#: The same of scores in a walk, which computes them three times where they are deferred.
MOST_SCORES = 1 << 27

#: Numbers of the largest value of a part of what is deferred; while it is computed, several such values are there.
PART = 1 << 23

#: What lies between the two products of an attention.
_OF_SCORES = (ops.Matmul, ops.Add, ops.Mul, ops.Product, ops.Max, ops.Softmax, ops.Reshape, ops.Permute, ops.Slice)


@dataclass(frozen=True)
class Deferred:
    """A value as the way to compute it.

    Attributes:
        node: what computes it.
        operands: what it reads.
        rows: of each of them an image's; 0 of a constant.
        images: how many there are.
        compute_node: gives the value of the node for some images.
    """

    node: Node
    operands: "tuple[Value, ...]"
    rows: tuple[int, ...]
    images: int
    compute_node: Compute

    @property
    def numbers(self) -> int:
        """Numbers of an image of the largest value that a part of it takes to compute."""
        read = (each.numbers for each in self.operands if isinstance(each, Deferred))
        return max(math.prod(self.node.shape.dims), *read, 0)

    def of(self, images: range) -> torch.Tensor:
        """The value for some images."""
        pairs = zip(self.operands, self.rows, strict=True)
        return self.compute_node(self.node, [_part(each, images, rows) for each, rows in pairs])

    def parts(self, most: int = PART) -> Iterator[torch.Tensor]:
        """The values of all images, a few at a time.

        Args:
            most: numbers of the largest value that are computed at once (those of one image at least).
        """
        return (self.of(some) for some in image_chunks(self.images, self.images * self.numbers, most))

    def whole(self) -> torch.Tensor:
        """The value for all images."""
        return torch.cat(list(self.parts()))


Value = torch.Tensor | Deferred


def parts_of(value: Value) -> Iterator[torch.Tensor]:
    """A value a few images at a time, or all of it where it is held."""
    return value.parts() if isinstance(value, Deferred) else iter((value,))


def whole(value: Value) -> torch.Tensor:
    """A value for all images."""
    return value.whole() if isinstance(value, Deferred) else value


def image_chunks(images: int, numbers: int, chunk: int) -> Iterator[range]:
    """Images, so few at a time that of `numbers` of all images no more than `chunk` are theirs (or one image)."""
    together = max(1, images * chunk // max(1, numbers))
    return (range(start, min(start + together, images)) for start in range(0, images, together))


def rows_of(value: torch.Tensor, images: range, rows: int) -> torch.Tensor:
    """The rows of some images, so many per image."""
    return value[images.start * rows : images.stop * rows]


class Deferring:
    """Which values of a graph are too large, and how what reads them is computed.

    Only what one node reads is deferred, so that nothing is computed more often for it.

    Attributes:
        names: of the values that are deferred.
    """

    def __init__(
        self, graph: Graph, images: int, *, most: int = MOST, may_wait: Callable[[Node], bool] = lambda _node: True
    ) -> None:
        """Look at a graph; nodes may be replaced later, but not their names and shapes.

        Args:
            graph: what is computed.
            images: how many.
            most: numbers of a value of all images; what has more is deferred.
            may_wait: whether the value of a node may be deferred, because all that reads it takes that.
        """
        self._images, self._most = images, most
        large = [node.name for node in graph if math.prod(node.shape.at(images)) > most]
        lead = images_lead(graph) if large and images > 1 else set()
        self._lead = {name for name in lead if graph[name].shape.batch_axis == 0}
        self._rows = {node.name: node.shape.dims[0] if node.shape.batch_axis == 0 else 0 for node in graph}
        self._constant = {node.name for node in graph if node.shape.batch_axis is None}
        readers = graph.consumers()
        self.names = frozenset(
            name for name in large if len(readers[name]) == 1 and self._in_parts(graph[name]) and may_wait(graph[name])
        )

    def value(self, node: Node, operands: list[Value], compute_node: Compute) -> Value:
        """The value of a node, or the way to it.

        Args:
            node: any node but the input.
            operands: what it reads.
            compute_node: gives the value of a node for some images.
        """
        reads_deferred = any(not is_held(each) for each in operands)
        rows = tuple(self._rows[name] for name in node.inputs)
        value = Deferred(node, tuple(operands), rows, self._images, compute_node)
        is_view = isinstance(node.op, ops.Permute | ops.Slice) and not reads_deferred
        if node.name in self.names and not is_view:
            return value
        if not reads_deferred or not self._in_parts(node):
            return compute_node(node, [whole(each) for each in operands])
        result: torch.Tensor | None = None
        start = 0
        for part in value.parts(min(self._most, PART)):
            if len(part) == node.shape.dims[0] * self._images:
                return part
            if result is None:
                result = part.new_empty(node.shape.at(self._images))
            result[start : start + len(part)] = part
            start += len(part)
        assert result is not None
        return result

    def _in_parts(self, node: Node) -> bool:
        """Whether the value for some images needs the operands for these alone."""
        return (
            not isinstance(node.op, ops.Input | ops.Constant)
            and node.name in self._lead
            and all(name in self._lead or name in self._constant for name in node.inputs)
        )


def deferring_scores(graph: Graph, images: int, *, most: int = MOST_SCORES) -> Deferring:
    """What a walk defers: scores and what becomes of them, up to the product behind, where they are many."""
    readers = graph.consumers()

    def may_wait(node: Node) -> bool:
        return isinstance(node.op, _OF_SCORES) and all(isinstance(each.op, _OF_SCORES) for each in readers[node.name])

    return Deferring(graph, images, most=most, may_wait=may_wait)


def evaluate_in_parts(
    graph: Graph, images: torch.Tensor, observe: Observer | None = None, *, most: int = MOST
) -> torch.Tensor:
    """`evaluate`, in memory for one image's largest values and not for those of all.

    Args:
        graph: canonical graph.
        images: as for `evaluate`.
        observe: called with every node and its value; of one that is deferred with parts of it, each once or more.
        most: numbers of a value of all images; what has more is deferred.
    """
    deferring, compute_float = Deferring(graph, len(images), most=most), computed_in(images.dtype)

    def compute(node: Node, operands: list[torch.Tensor]) -> torch.Tensor:
        value = compute_float(node, operands)
        if observe is not None:
            observe(node, value)
        return value

    def value(node: Node, operands: list[Value]) -> Value:
        return deferring.value(node, operands, compute)

    if observe is not None:
        observe(graph.input, images)
    return evaluate(graph, images, compute_node=cast("Compute", value))  # which hands on whatever it gets


def is_held(value: Value) -> TypeGuard[torch.Tensor]:
    """Whether all of a value is there."""
    return isinstance(value, torch.Tensor)


def _part(value: Value, images: range, rows: int) -> torch.Tensor:
    """An operand for some images, with so many rows for each."""
    if isinstance(value, Deferred):
        return value.of(images)
    return rows_of(value, images, rows) if rows else value

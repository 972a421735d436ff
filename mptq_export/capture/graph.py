"""The canonical graph: what every later stage reads and rewrites.

A node computes one value; a value is named after the module that computes it, so that layer names in recipes, errors
and ONNX files are the names that users know from timm. Shapes are those for one image; `batch_axis` says which
axis grows with the batch (an axis may hold several rows an image: Swin's windows).
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch

from mptq_export.capture.ops import Input, Movement, Op, Outputs, label
from mptq_export.recipe.outputs import LOGITS, Output

NHWC, NCHW = (0, 2, 3, 1), (0, 3, 1, 2)
"""Permutations to the layout of the name, from the other one."""

AnOp = TypeVar("AnOp", bound=Op)


@dataclass(frozen=True)
class Shape:
    """Sizes of a value for one image.

    Attributes:
        dims: size of every axis for a batch of one.
        batch_axis: the axis whose size is multiplied by the batch, or None for a constant.
    """

    dims: tuple[int, ...]
    batch_axis: int | None = 0

    def at(self, batch: int) -> tuple[int, ...]:
        """Sizes for `batch` images."""
        return tuple(d * batch if i == self.batch_axis else d for i, d in enumerate(self.dims))

    def dynamic(self) -> list[int]:
        """Sizes with -1 on the batch axis, as a Reshape target."""
        return [-1 if i == self.batch_axis else d for i, d in enumerate(self.dims)]


@dataclass(frozen=True)
class Node:
    """One canonical op.

    Attributes:
        op: what it does, with its attributes.
        name: unique, and the name of the value that the node computes.
        inputs: names of the values read.
        shape: shape of the value.
        params: float32 tensors, by the names that the op's class gives them; float64 where a search has transformed
            them.
        weights_of: of a layer with weights: names of the model's tensors that they come from.
    """

    op: Op
    name: str
    inputs: tuple[str, ...]
    shape: Shape
    params: dict[str, torch.Tensor] = field(default_factory=dict)
    weights_of: tuple[str, ...] = ()

    def attributes(self, kind: type[AnOp]) -> AnOp:
        """The op, for a reader that is only ever given this one."""
        if not isinstance(self.op, kind):
            raise TypeError(f"{self.name} is a {label(self.op)}, read as a {kind.__name__}")
        return self.op

    def cast(self, dtype: torch.dtype) -> "Node":
        """The node with tensors of a type; itself where they have it."""
        if all(value.dtype == dtype for value in self.params.values()):
            return self
        return replace(self, params={name: value.to(dtype) for name, value in self.params.items()})


class Graph:
    """Canonical nodes in topological order, with one input and one output value.

    That is the value of the logits where the model gives nothing else; of all other graphs an `outputs` node: all that
    the model gives, flattened and side by side, [B, values].
    """

    def __init__(self, nodes: Iterable[Node], output: str) -> None:
        self.nodes: dict[str, Node] = {node.name: node for node in nodes}
        self.output = output
        self._readers: dict[str, list[Node]] = {}

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes.values())

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    @property
    def input(self) -> Node:
        """The image input."""
        return next(node for node in self if isinstance(node.op, Input))

    @property
    def joined(self) -> bool:
        """Whether the output value is an `outputs` node, [B, values]; else it is the logits."""
        return isinstance(self.nodes[self.output].op, Outputs)

    @property
    def given(self) -> tuple[Output, ...]:
        """What the model gives, in order."""
        last = self.nodes[self.output].op
        return last.given if isinstance(last, Outputs) else LOGITS

    @property
    def outputs(self) -> dict[str, str]:
        """The value of everything that the model gives by its name, in order."""
        values = self.nodes[self.output].inputs if self.joined else (self.output,)
        return dict(zip((each.name for each in self.given), values, strict=True))

    def parts(self, output: torch.Tensor) -> list[torch.Tensor]:
        """The output value cut into what the model gives, [B, values] each; itself where that is the logits alone."""
        if not self.joined:
            return [output]
        return list(torch.split(output, [math.prod(self.nodes[name].shape.dims) for name in self.outputs.values()], 1))

    def consumers(self) -> dict[str, list[Node]]:
        """Readers of every value, in topological order; worked out once, and not to be changed."""
        if not self._readers:
            self._readers = {name: [] for name in self.nodes}
            for node in self:
                for name in dict.fromkeys(node.inputs):
                    self._readers[name].append(node)
        return self._readers

    def path(self, name: str) -> tuple[Node, list[Node]]:
        """The node that computes the numbers of a value, and the movement from it to the value, in order."""
        chain: list[Node] = []
        node = self.nodes[name]
        while isinstance(node.op, Movement):
            chain.insert(0, node)
            node = self.nodes[node.inputs[0]]
        return node, chain

    def root(self, name: str) -> Node:
        """The node that computes the numbers of `name`: its producer, seen through data movement."""
        return self.path(name)[0]

    def final_readers(self, name: str) -> list[tuple[Node, str]] | None:
        """The computing nodes that read a value through data movement, each with the name of what it reads.

        None where the value, moved or not, is the graph's output.
        """
        readers = self.consumers()
        found: list[tuple[Node, str]] = []
        pending = [name]
        while pending:
            value = pending.pop()
            if value == self.output:
                return None
            for reader in readers[value]:
                if isinstance(reader.op, Movement):
                    pending.append(reader.name)
                else:
                    found.append((reader, value))
        return found

    def to(self, device: torch.device | str) -> "Graph":
        """A copy whose tensors are on a device."""
        moved = (replace(node, params={k: v.to(device) for k, v in node.params.items()}) for node in self)
        return Graph(moved, self.output)

    def cast(self, dtype: torch.dtype) -> "Graph":
        """A copy whose tensors have a type."""
        return Graph((node.cast(dtype) for node in self), self.output)

    def updated(self, changes: dict[str, Node]) -> "Graph":
        """A copy in which the nodes named in `changes` are replaced."""
        return Graph((changes.get(node.name, node) for node in self), self.output)

    def expanded(self, replaced: Mapping[str, Sequence[Node]]) -> "Graph":
        """A copy in which each key of `replaced` has become several nodes; who read it reads the last of them."""
        last = {name: nodes[-1].name for name, nodes in replaced.items()}
        found: list[Node] = []
        for node in self:
            for each in replaced.get(node.name, (node,)):
                own = {inner.name for inner in replaced.get(node.name, ())}
                inputs = tuple(name if name in own else last.get(name, name) for name in each.inputs)
                found.append(replace(each, inputs=inputs))
        return Graph(found, last.get(self.output, self.output))

    def pruned(self) -> "Graph":
        """A copy without the nodes that the output does not need (the input stays)."""
        needed = {self.output}
        for node in reversed(list(self)):
            if node.name in needed:
                needed.update(node.inputs)
        return Graph((n for n in self if n.name in needed or isinstance(n.op, Input)), self.output)

    def bypassed(self, removed: dict[str, str]) -> "Graph":
        """A copy in which every reader of a key of `removed` reads its value instead; the keys are gone."""

        def final(name: str) -> str:
            while name in removed:
                name = removed[name]
            return name

        nodes = [
            replace(node, inputs=tuple(final(name) for name in node.inputs))
            for node in self
            if node.name not in removed
        ]
        return Graph(nodes, final(self.output))

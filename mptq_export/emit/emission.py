"""A graph becomes a file from its outputs back to its input: each reader asks for what it reads.

A form of the file (`exact/`) says with a table, op to handler, how each op is computed; its context is an `Emission`
that handlers ask. Here is what no form changes: nothing is emitted twice, shapes, inputs, outputs.
"""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal, TypeVar

import onnx

from mptq_export.capture.graph import Graph, Node, Shape
from mptq_export.capture.ops import Op, label
from mptq_export.emit.builder import FLOAT, UINT8, OnnxBuilder, value_info
from mptq_export.emit.value import AnyValue, Value
from mptq_export.recipe.settings import InputType
from mptq_export.support.errors import MptqError

#: Calls that lie between a node and the nodes before it, at most.
_CALLS = 20

HandlerT = TypeVar("HandlerT")


class Emission(ABC):
    """State of one emission, in any form.

    Attributes:
        graph: the prepared graph.
        input_type: `float32` (normalised NCHW) or `uint8` (raw NHWC pixels).
        onnx: the file under construction.
        readers: who reads a value, by its name.
    """

    def __init__(self, graph: Graph, input_type: InputType, onnx: OnnxBuilder | None = None) -> None:
        self.graph = graph
        self.input_type = input_type
        self.onnx = onnx or OnnxBuilder()
        self.readers = graph.consumers()
        self._emitted: dict[Hashable, Any] = {}

    @abstractmethod
    def read_output(self, value: str) -> Value:
        """The value of an output of the graph: float32, in its own units."""

    def once(self, key: Hashable, emit: Callable[[], AnyValue]) -> AnyValue:
        """What `emit` gives; it is called for the first of all readers that ask under `key`."""
        if key not in self._emitted:
            self._emitted[key] = emit()
        found: AnyValue = self._emitted[key]
        return found

    @staticmethod
    def handler(
        table: Mapping[type[Op], HandlerT], root: Node, needed: Literal["codes", "float values", "values"]
    ) -> HandlerT:
        """The handler of a node that computes.

        Args:
            table: op to handler.
            root: the node.
            needed: what the handlers of the table give.

        Raises:
            MptqError: the table has none.
        """
        found = table.get(type(root.op))
        if found is None:
            raise MptqError(
                f"{root.name}: a {label(root.op)} is read where {needed} are needed; this form is not supported"
            )
        return found

    def sizes(self, shape: Shape) -> list[int]:
        """Sizes of a value as a Reshape target; the batch is free."""
        return shape.dynamic()

    def reshape(self, value: AnyValue, sizes: list[int], name: str) -> AnyValue:
        """A value in another shape."""
        return replace(value, tensor=self.onnx.reshape(value.tensor, sizes, name))

    def moved(self, value: AnyValue, move: Callable[[str], str]) -> AnyValue:
        """A value behind data movement, which takes the tensor that holds it."""
        return replace(value, tensor=move(value.tensor))

    def cut(self, tensor: str, sizes: list[int], axis: int, name: str) -> list[str]:
        """The pieces of a tensor along an axis."""
        return self.onnx.op("Split", [tensor, self.onnx.shape(sizes)], name, outputs=len(sizes), axis=axis)

    def flatten(self, value: AnyValue, node_name: str) -> AnyValue:
        """The value of a node as [rows, channels]."""
        dims = self.graph[node_name].shape.dims
        if value.flat or len(dims) == 2:
            return replace(value, flat=True)
        return replace(self.reshape(value, [-1, dims[-1]], f"{value.tensor}.rows"), flat=True)

    def unflatten(self, value: AnyValue, node_name: str) -> AnyValue:
        """The value of a node in the shape of that node."""
        shape = self.graph[node_name].shape
        if not value.flat or len(shape.dims) == 2:
            return replace(value, flat=False)
        return replace(self.reshape(value, self.sizes(shape), f"{value.tensor}.full"), flat=False)

    def finish(self, producer: str) -> onnx.ModelProto:
        """Emit everything that the outputs need and return the model; `producer` is the version of this program."""
        named = self.graph.outputs
        self.onnx.reserve(named)
        results: dict[str, str] = {}
        with _deep_calls(len(self.graph.nodes)):
            for name, value in named.items():
                results[name] = self._output(value, name, results.values())
        for name, tensor in results.items():  # last: until here tensors are known by their first names
            self.onnx.rename_output(tensor, name)
        source = self.sizes(self.graph.input.shape)
        if self.input_type == "uint8":
            dims, dtype = [source[0], source[2], source[3], source[1]], UINT8
        else:
            dims, dtype = source, FLOAT
        inputs = [value_info("input", dtype, dims)]
        outputs = [value_info(name, FLOAT, self.sizes(self.graph[value].shape)) for name, value in named.items()]
        return self.onnx.model(inputs, outputs, producer)

    def _output(self, value: str, name: str, taken: Collection[str]) -> str:
        """The tensor of an output; a copy where it is the input, or another output too."""
        tensor = self.unflatten(self.read_output(value), value).tensor
        return self.onnx.one("Identity", [tensor], name) if tensor in ("input", *taken) else tensor


@contextmanager
def _deep_calls(nodes: int) -> Iterator[None]:
    """Room for as many nested calls as the longest path of a graph asks for."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(limit + _CALLS * nodes)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)

"""A graph to look around in: what makes a tensor, what reads it, and which are constants."""

from functools import cached_property
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

Array = NDArray[Any]


class GraphReader:
    """The tensors of a model's main graph by name.

    Attributes:
        nodes: the nodes, in order.
        constants: the initializers.
        outputs: names of the graph's outputs.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes = model.graph.node
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self.outputs = {entry.name for entry in model.graph.output}

    @cached_property
    def producers(self) -> dict[str, onnx.NodeProto]:
        """The node that makes each tensor, in graph order."""
        return {name: node for node in self.nodes for name in node.output if name}

    @cached_property
    def _readers(self) -> dict[str, list[onnx.NodeProto]]:
        found: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                found.setdefault(name, []).append(node)
        return found

    def readers(self, name: str) -> list[onnx.NodeProto]:
        """The nodes that read a tensor, in graph order; one that reads it twice is there twice."""
        return self._readers.get(name, [])

    def constant(self, name: str) -> Array | None:
        """The values of an initializer; None for any other tensor."""
        tensor = self.constants.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def scalar(self, name: str) -> float | None:
        """The one value of an initializer; None where there are several, and for any other tensor."""
        values = self.constant(name)
        return None if values is None or values.size != 1 else float(values.ravel()[0])

    def behind(self, names: set[str]) -> set[str]:
        """The tensors that these depend on, and these themselves."""
        found = set(names)
        for node in reversed(self.nodes):
            if found.intersection(filter(None, node.output)):
                found.update(node.input)
        return found

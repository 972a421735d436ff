"""A finished graph that is written once more, node by node, with what belongs before each."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from mptq_export.emit.builder import OnnxBuilder
from mptq_export.profile.implied import absent_inputs, implied_attribute, implied_input, unwritten_attributes
from mptq_export.targets.file.view import DEQUANTIZE, FileView

Array = NDArray[Any]


class Spelling:
    """The graph under construction, and what is known of the one that it is written from.

    Attributes:
        view: the finished graph: every size is a number.
        onnx: what is written.
    """

    def __init__(self, view: FileView) -> None:
        self.view = view
        self.onnx = OnnxBuilder()
        self.onnx.reserve(view.shapes)
        self.onnx.initializers.update(view.stored)

    def shape(self, name: str) -> list[int]:
        """Sizes of a tensor of the finished graph."""
        return self.view.shapes[name]

    def stored(self, name: str) -> Array | None:
        """A tensor that the file holds; None where it is computed."""
        return self.view.values(name)

    def fill(self, node: onnx.NodeProto) -> None:
        """Write out the attributes and the inputs that a node leaves out, where this package knows what they are."""
        for name in list(unwritten_attributes(node, self.view)):
            value = implied_attribute(node, name, self.view)
            if value is not None:
                node.attribute.append(helper.make_attribute(name, value))
        for place, name in list(absent_inputs(node, self.view)):
            implied = implied_input(node, name, self.view)
            if implied is not None:
                node.input.extend([""] * (place + 1 - len(node.input)))
                node.input[place] = self.onnx.constant(f"{node.output[0]}.{name}", implied)

    def put(self, node: onnx.NodeProto) -> None:
        """Append a node of the finished graph."""
        self.onnx.nodes.append(node)

    def add(self, op: str, inputs: list[str], name: str, like: onnx.NodeProto | None = None) -> str:
        """Append a node that the finished graph does not have; an equal one that is there already stands for it.

        Args:
            op: ONNX op.
            inputs: tensors.
            name: of the node and its result.
            like: it has the attributes of this one.
        """
        attributes = {each.name: helper.get_attribute_value(each) for each in (like.attribute if like else ())}
        return self.onnx.one(op, inputs, name, **attributes)

    def expand(self, tensor: str, sizes: list[int]) -> str:
        """A tensor repeated to a shape.

        Codes are repeated before they are dequantized, because onnxruntime fuses a DequantizeLinear only with what
        reads it.
        """
        if self.shape(tensor) == sizes:
            return tensor
        node = self.view.producers.get(tensor)
        name = f"{tensor}.{'x'.join(map(str, sizes))}"
        if node is not None and node.op_type == DEQUANTIZE and not self.shape(node.input[1]):
            codes = self.add("Expand", [node.input[0], self.onnx.shape(sizes)], f"{name}.codes")
            whole = onnx.NodeProto()
            whole.CopyFrom(node)
            self.fill(whole)
            return self.add(DEQUANTIZE, [codes, *whole.input[1:]], name, whole)
        return self.add("Expand", [tensor, self.onnx.shape(sizes)], name)

    def integers(self, values: list[int] | Array) -> str:
        """An int64 vector that the file holds."""
        return self.onnx.shape([int(value) for value in np.asarray(values)])

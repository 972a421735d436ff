"""A QDQ graph to look around in: which codes stand behind a tensor, who makes and who reads it."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

#: From floats to codes and back: what a rule looks through.
QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"

#: What moves elements and computes nothing.
MOVEMENT = frozenset({"Reshape", "Transpose", "Split", "Slice", "Squeeze", "Unsqueeze", "Identity", "Gather"})

#: Layers with weights.
WEIGHTED = frozenset({"Gemm", "Conv"})

#: Floats before, between and behind which a function of several nodes has no codes.
FUNCTION_PARTS = frozenset({"Erf", "Tanh", "Sigmoid", "Div", "Mul", "Add", "Pow", "Clip"})

#: One of these is in each of those functions.
CURVES = frozenset({"Erf", "Tanh", "Sigmoid"})


@dataclass(frozen=True)
class Codes:
    """The codes behind a float tensor.

    Attributes:
        name: of the tensor that holds the codes.
        kind: their type: `int8`, `uint8`, `int16`, `uint16`, `int4`, `int32`.
        scale: of a step; one number, or one a channel.
        zero_point: the same.
        axis: of the channels; None where one scale is for all.
        stored: whether the codes are stored in the file.
    """

    name: str
    kind: str
    scale: NDArray[np.float32]
    zero_point: NDArray[np.int64]
    axis: int | None
    stored: bool

    @property
    def parameters(self) -> tuple[str, bytes, bytes]:
        """What two tensors have in common whose codes mean the same."""
        return self.kind, self.scale.tobytes(), self.zero_point.tobytes()


class FileView:
    """An ONNX model as rules see it.

    Attributes:
        model: the model.
        nodes: of its graph, in order.
        producers: the node that makes a tensor, by its name.
        readers: the nodes that read a tensor, by its name.
        stored: initializers by name.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.nodes = list(model.graph.node)
        self.producers = {output: node for node in self.nodes for output in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.input):
                self.readers.setdefault(name, []).append(node)
        self.stored = {tensor.name: tensor for tensor in model.graph.initializer}

    @cached_property
    def opset(self) -> int:
        """Version of the default domain."""
        return max((each.version for each in self.model.opset_import if each.domain in ("", "ai.onnx")), default=0)

    @cached_property
    def shapes(self) -> dict[str, list[int]]:
        """Sizes of tensors, by name; -1 where a size is not fixed."""
        graph = self.model.graph
        found = {name: list(tensor.dims) for name, tensor in self.stored.items()}
        for info in (*graph.value_info, *graph.input, *graph.output):
            dims = info.type.tensor_type.shape.dim
            found[info.name] = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in dims]
        return found

    @cached_property
    def kinds(self) -> dict[str, int]:
        """Element types of tensors as ONNX numbers them, by name; 0 where none is said, or it is no tensor."""
        graph = self.model.graph
        found = {name: tensor.data_type for name, tensor in self.stored.items()}
        for info in (*graph.value_info, *graph.input, *graph.output):
            found[info.name] = info.type.tensor_type.elem_type
        return found

    def dtype(self, name: str) -> np.dtype[np.generic]:
        """NumPy's type of a tensor whose type is said."""
        return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(self.kinds[name]))

    @cached_property
    def outputs(self) -> set[str]:
        """Names of the outputs."""
        return {output.name for output in self.model.graph.output}

    @property
    def computing(self) -> Iterator[onnx.NodeProto]:
        """Every node but those that make or read codes."""
        return (node for node in self.nodes if node.op_type not in (QUANTIZE, DEQUANTIZE))

    def of_type(self, *op_types: str) -> Iterator[onnx.NodeProto]:
        """Nodes of some types."""
        return (node for node in self.nodes if node.op_type in op_types)

    def values(self, name: str) -> NDArray[np.generic] | None:
        """A stored tensor; None where it is computed."""
        tensor = self.stored.get(name)
        return None if tensor is None else np.asarray(numpy_helper.to_array(tensor))

    def codes(self, tensor: str) -> Codes | None:
        """The codes that a tensor is dequantized from; None of any other tensor."""
        node = self.producers.get(tensor)
        return self._codes(node) if node is not None and node.op_type == DEQUANTIZE else None

    def codes_made(self, tensor: str) -> list[Codes]:
        """The codes that the readers of a tensor make of it, one for each QuantizeLinear."""
        makers = (node for node in self.readers.get(tensor, ()) if node.op_type == QUANTIZE)
        return [self._codes(node) for node in makers]

    def computed(self, tensor: str) -> str:
        """A tensor before it became codes and was made of them again."""
        node = self.producers.get(tensor)
        while node is not None and node.op_type in (QUANTIZE, DEQUANTIZE):
            tensor = node.input[0]
            node = self.producers.get(tensor)
        return tensor

    def maker(self, tensor: str) -> onnx.NodeProto | None:
        """The node that computes a tensor, seen through codes; None of what is stored, and of the input."""
        return self.producers.get(self.computed(tensor))

    def data_inputs(self, node: onnx.NodeProto) -> list[str]:
        """The inputs of a node that are values: no shapes, axes, sizes or numbers to pad with."""
        if node.op_type in MOVEMENT or node.op_type in ("Pad", "ReduceMean", "ReduceMax", "Clip"):
            return [node.input[0]]
        return [name for name in node.input if name]

    def attribute(self, node: onnx.NodeProto, name: str, default: object) -> object:
        """An attribute of a node."""
        for each in node.attribute:
            if each.name == name:
                return onnx.helper.get_attribute_value(each)
        return default

    def _codes(self, node: onnx.NodeProto) -> Codes:
        held = node.input[0] if node.op_type == DEQUANTIZE else node.output[0]
        scale = np.asarray(self.values(node.input[1]), np.float32)
        zero = self.values(node.input[2]) if len(node.input) > 2 else None
        kind = self._kind(node.input[2]) if zero is not None else self._kind(held) if held in self.stored else "uint8"
        points = np.zeros(scale.shape, np.int64) if zero is None else np.asarray(zero).astype(np.int64)
        axis = int(str(self.attribute(node, "axis", 1))) if scale.size > 1 or scale.ndim == 1 else None
        return Codes(held, kind, scale, points, axis, held in self.stored)

    def _kind(self, name: str) -> str:
        return str(TensorProto.DataType.Name(self.stored[name].data_type)).lower()

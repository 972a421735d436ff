"""Collects ONNX nodes and initializers; the same node is never emitted twice."""

from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

#: Of the exact form.
OPSET, IR_VERSION = 21, 10


class OnnxBuilder:
    """An ONNX graph under construction.

    Attributes:
        opset: version of the default domain.
        ir: IR version.
    """

    def __init__(self, opset: int = OPSET, ir: int = IR_VERSION) -> None:
        self.opset, self.ir = opset, ir
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self._stored: dict[Hashable, str] = {}  # initializers by their content
        self._results: dict[Hashable, list[str]] = {}  # of nodes by what they compute
        self._names: set[str] = set()
        self._producers: dict[str, str] = {}
        self._unshaped: dict[str, str] = {}
        self._follow: Callable[[str], str] | None = None

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """An initializer; equal small tensors are stored once."""
        return self._store("", name, value)

    def own_constant(self, name: str, value: NDArray[Any]) -> str:
        """An initializer of one reader, after which it is named: what a runtime changes for it, no other sees.

        onnxruntime's option `session.x64quantprecision` rewrites int8 weights and their zero points, and fails where
        two matmuls share one: as two calls of a layer do with its weight, for which the file holds it once.
        """
        return self._store(name, name, value)

    def initializer(self, tensor: onnx.TensorProto) -> str:
        """An initializer that NumPy has no type for (INT4), values in `raw_data`; of one reader, as `own_constant`."""
        key = ("initializer", tensor.name, tensor.data_type, tuple(tensor.dims), tensor.raw_data)
        if key not in self._stored:
            tensor.name = self._unique(tensor.name)
            self.initializers[tensor.name] = tensor
            self._stored[key] = tensor.name
        return self._stored[key]

    def scalar(self, value: float, dtype: type = np.float32) -> str:
        """A rank-0 initializer named after its value."""
        array: NDArray[Any] = np.array(value, dtype)
        return self.constant(f"{array.dtype.name}_{array.item():.9g}", array)

    def shape(self, dims: list[int]) -> str:
        """An int64 vector for Reshape, Slice, Split and reductions."""
        return self.constant("dims_" + "x".join(map(str, dims)), np.array(dims, np.int64))

    def op(self, op_type: str, inputs: list[str], name: str, outputs: int = 1, **attrs: Any) -> list[str]:
        """Append a node, or return the results of an equal one.

        Args:
            op_type: ONNX op.
            inputs: tensor names.
            name: name of the node and of its first result, by module path.
            outputs: number of results.
            **attrs: ONNX attributes.
        """
        key = (op_type, tuple(inputs), outputs, tuple(sorted((k, str(v)) for k, v in attrs.items())))
        if key not in self._results:
            names = [self._unique(name if i == 0 else f"{name}_{i}") for i in range(outputs)]
            self.nodes.append(helper.make_node(op_type, inputs, names, name=names[0], **attrs))
            self._results[key] = names
            self._producers.update(dict.fromkeys(names, op_type))
        follow, self._follow = self._follow, None
        results = [each if follow is None else follow(each) for each in self._results[key]]
        self._follow = follow
        return results

    @contextmanager
    def followed(self, by: Callable[[str], str]) -> Iterator[None]:
        """Within this, what `by` makes of each result of a node stands for that result."""
        before, self._follow = self._follow, by
        try:
            yield
        finally:
            self._follow = before

    def one(self, op_type: str, inputs: list[str], name: str, **attrs: Any) -> str:
        """`op` with one result."""
        return self.op(op_type, inputs, name, **attrs)[0]

    def reshape(self, x: str, dims: list[int], name: str) -> str:
        """Reshape to `dims`; of what was reshaped already, its source is."""
        source = self.unshaped(x)
        result = self.one("Reshape", [source, self.shape(dims)], name)
        self._unshaped[result] = source
        return result

    def unshaped(self, tensor: str) -> str:
        """What a tensor is a Reshape of: itself where it is none."""
        return self._unshaped.get(tensor, tensor)

    def producer(self, tensor: str) -> str:
        """Op that computes a tensor; empty for inputs and initializers."""
        return self._producers.get(tensor, "")

    def quantize(self, x: str, scale: float, zero_point: int, name: str) -> str:
        """QuantizeLinear to uint8."""
        return self.one("QuantizeLinear", [x, self.scalar(scale), self.scalar(zero_point, np.uint8)], name)

    def dequantize(self, x: str, scale: float, zero_point: int, name: str, dtype: type = np.uint8) -> str:
        """DequantizeLinear from uint8, or another type of codes."""
        if dtype is np.int8:
            zero = self.own_constant(f"{x}.zero_point", np.array(zero_point, dtype))
        else:
            zero = self.scalar(zero_point, dtype)
        return self.one("DequantizeLinear", [x, self.scalar(scale), zero], name)

    def reserve(self, names: Iterable[str]) -> None:
        """Keep names for what is renamed later; also that of the input."""
        self._names.update(names, ["input"])

    def rename_output(self, tensor: str, name: str) -> None:
        """Give a computed tensor its final name."""
        for node in self.nodes:
            for i, output in enumerate(node.output):
                if output == tensor:
                    node.output[i] = name
            for i, source in enumerate(node.input):
                if source == tensor:
                    node.input[i] = name

    def model(
        self, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto], producer: str
    ) -> onnx.ModelProto:
        """The finished model without what no output needs, checked, with shapes inferred."""
        needed = {output.name for output in outputs}
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                needed.update(node.input)
        nodes = [node for node in self.nodes if needed.intersection(node.output)]
        constants = [tensor for name, tensor in self.initializers.items() if name in needed]
        graph = helper.make_graph(nodes, "mptq_export", inputs, outputs, constants)
        domains = sorted({"", *(node.domain for node in nodes)})
        imports = [helper.make_opsetid(domain, 1 if domain else self.opset) for domain in domains]
        model = helper.make_model(graph, opset_imports=imports, ir_version=self.ir, producer_name="mptq-export")
        model.producer_version = producer
        model = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
        onnx.checker.check_model(model, full_check=True)
        return model

    def _store(self, owner: str, name: str, value: NDArray[Any]) -> str:
        value = np.asarray(value, order="C")  # ascontiguousarray would give a scalar an axis
        key = ("constant", owner, value.dtype.str, value.shape, value.tobytes())
        if key not in self._stored:
            self._stored[key] = self._unique(name)
            self.initializers[self._stored[key]] = numpy_helper.from_array(value, self._stored[key])
        return self._stored[key]

    def _unique(self, name: str) -> str:
        unique, count = name, 1
        while unique in self._names:
            count += 1
            unique = f"{name}_{count}"
        self._names.add(unique)
        return unique


def value_info(name: str, dtype: int, dims: list[int]) -> onnx.ValueInfoProto:
    """A graph input or output; -1 is the batch."""
    return helper.make_tensor_value_info(name, dtype, ["batch" if d == -1 else d for d in dims])


FLOAT, DOUBLE, UINT8, INT8 = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.UINT8, TensorProto.INT8
INT32 = TensorProto.INT32

"""A small file that obeys the profile with no exception, to be spoilt in one place."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


@dataclass
class Draft:
    """Nodes and constants before they are a file; `after` changes the file itself."""

    nodes: dict[str, onnx.NodeProto] = field(default_factory=dict)
    stored: dict[str, Any] = field(default_factory=dict)
    after: list[Callable[[onnx.ModelProto], object]] = field(default_factory=list)
    batch: int | str = 1

    def add(self, op: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
        """A node after those that are there; a node of the same output is replaced."""
        self.nodes[output] = helper.make_node(op, inputs.split(), [output], name=output, **attributes)
        return self.nodes[output]

    def model(self) -> onnx.ModelProto:
        """The file, with the types and shapes of all tensors."""
        entry = helper.make_tensor_value_info("x", FLOAT, [self.batch, 4])
        output = helper.make_tensor_value_info("y", FLOAT, None)
        constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in self.stored.items()]
        graph = helper.make_graph(list(self.nodes.values()), "g", [entry], [output], constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
        model = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
        for end in (*model.graph.input, *model.graph.output):
            end.doc_string = "numbers"
        for change in self.after:
            change(model)
        return model


def draft() -> Draft:
    """Every op that a rule is about, once, as the profile wants it."""
    made = Draft()
    made.stored = {
        "row": np.ones((1, 4), np.float32),
        "zeros": np.zeros(2, np.int64),
        "ends": np.array([1, 4], np.int64),
        "axes": np.array([0, 1], np.int64),
        "ones": np.ones(2, np.int64),
        "two_two": np.array([2, 2], np.int64),
        "matrix": np.eye(2, dtype=np.float32),
        "low": np.float32(0),
        "high": np.float32(9),
        "scale": np.float32(0.5),
        "zero": np.uint8(3),
        "zero_i32": np.int32(0),
        "image": np.array([1, 1, 4, 2], np.int64),
        "kernel": np.ones((1, 1, 1, 1), np.float32),
        "bias": np.zeros(1, np.float32),
    }
    made.add("Add", "x row", "sum")
    made.add("Slice", "sum zeros ends axes ones", "cut")
    made.add("Reshape", "cut two_two", "square", allowzero=0)
    made.add("Gemm", "square matrix matrix", "product", alpha=1.0, beta=1.0, transA=0, transB=0)
    made.add("Clip", "product low high", "clipped")
    made.add("Concat", "clipped clipped", "both", axis=0)
    made.add("MatMul", "both matrix", "matmul")
    made.add("QuantizeLinear", "matmul scale zero", "codes", axis=1, block_size=0, output_dtype=0, saturate=1)
    made.add("Cast", "codes", "wide", to=TensorProto.INT32, saturate=1)
    made.add("DequantizeLinear", "wide scale zero_i32", "floats", axis=1, block_size=0)
    made.add("Reshape", "floats image", "map", allowzero=0)
    conv = {"kernel_shape": [1, 1], "pads": [0] * 4, "strides": [1, 1], "dilations": [1, 1]}
    made.add("Conv", "map kernel bias", "y", auto_pad="NOTSET", group=1, **conv)
    return made

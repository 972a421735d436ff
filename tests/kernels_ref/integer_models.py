"""Small quantized matrix products, and onnxruntime's answer to them."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from kernels_ref import Interpreter

Array = NDArray[Any]


def model(
    nodes: Iterable[onnx.NodeProto],
    inputs: dict[str, Array],
    outputs: dict[str, int],
    constants: dict[str, Array],
    opset: int = 21,
) -> onnx.ModelProto:
    """A checked model whose inputs have the types and ranks of `inputs`; `outputs` maps names to ONNX types."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(x.dtype), [None] * x.ndim)
            for name, x in inputs.items()
        ],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()],
        [numpy_helper.from_array(np.asarray(x), name) for name, x in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def node(op: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(" "), [output], output, **attributes)


def runtime(proto: onnx.ModelProto, feeds: dict[str, Array]) -> dict[str, Array]:
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def assert_same_bits(proto: onnx.ModelProto, feeds: dict[str, Array]) -> dict[str, Array]:
    """onnxruntime and the interpreter agree, with and without the trace; returns the trace."""
    expected = runtime(proto, feeds)
    interpreter = Interpreter(proto)
    got, trace = interpreter.run(feeds), interpreter.run(feeds, trace=True)
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        for mine in (got[name], trace[name]):
            assert mine.dtype == value.dtype and mine.shape == value.shape
            assert mine.tobytes() == value.tobytes(), f"{name}: {(mine != value).sum()} of {value.size} differ"
    assert trace.keys() == {name for entry in proto.graph.node for name in entry.output}
    return trace

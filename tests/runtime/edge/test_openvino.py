"""A file in OpenVINO: which kernels run in integers, by its own record, and what it computes."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from mptq_export.runtime.edge.opening import open_edge
from mptq_export.runtime.edge.options import EdgeOptions
from mptq_export.runtime.edge.session import PlacedOps
from mptq_export.support.errors import MptqError
from tests.qdq_graphs import Codes, FloatGraph, quantized, save

pytest.importorskip("openvino", reason="OpenVINO comes with pip install openvino")

SAMPLES = np.random.default_rng(0).standard_normal((4, 8, 16)).astype(np.float32)
S8, PROBABILITY = Codes("s8", symmetric=True), Codes("u8", scale=1 / 255)


def attention(softmax: Codes | None) -> onnx.ModelProto:
    """Softmax of x times its own transpose, times x; everything but the result of the first product has codes."""
    graph = FloatGraph((1, 8, 16))
    scores = graph.add("MatMul", "x", graph.add("Transpose", "x", perm=[0, 2, 1]))
    found = graph.add("MatMul", graph.add("Softmax", scores, axis=-1), "x")

    def chosen(name: str, op: str) -> Codes | None:
        return {"Softmax": softmax, "MatMul": None}.get(op, S8)

    return quantized(graph, found, SAMPLES, chosen, opset=20, ir=9)


def matmuls(placed: tuple[PlacedOps, ...]) -> set[tuple[str, bool | None]]:
    return {(each.numbers, each.integer) for each in placed if "MatMul" in each.op}


def test_products_of_codes_are_in_integers_and_right(tmp_path: Path):
    path = save(attention(PROBABILITY), tmp_path / "m.onnx")
    session = open_edge("openvino", path, EdgeOptions(precision="f32"))
    assert matmuls(session.placement.ops) == {("INT8", True)}
    assert not session.placement.left
    cpu = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (there,), (here,) = session.run(SAMPLES[:1]).values(), cpu.run(None, {"x": SAMPLES[:1]})
    np.testing.assert_allclose(there, here, atol=1.1 * np.abs(SAMPLES).max() / 255)


def test_a_product_with_one_float_factor_is_in_floats_though_the_kernel_is_called_i8(tmp_path: Path):
    session = open_edge("openvino", save(attention(None), tmp_path / "m.onnx"), EdgeOptions(precision="f32"))
    assert ("FP32", False) in matmuls(session.placement.ops)


def test_a_free_batch_takes_any_number_of_inputs(tmp_path: Path):
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", 3])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["batch", 3])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Neg", ["x"], ["y"], name="n")], "g", [x], [y])
    opset = [onnx.helper.make_opsetid("", 20)]
    path = save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9), tmp_path / "m.onnx")
    session = open_edge("openvino", path, EdgeOptions(threads=1))
    for count in (1, 4):
        given = np.arange(3 * count, dtype=np.float32).reshape(count, 3)
        np.testing.assert_array_equal(session.run(given)["y"], -given)


def test_what_is_no_model_or_no_such_input_is_one_line(tmp_path: Path):
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    with pytest.raises(MptqError, match=r"OpenVINO cannot open .*bad\.onnx") as told:
        open_edge("openvino", tmp_path / "bad.onnx")
    assert "\n" not in str(told.value) and ".cpp" not in str(told.value)
    session = open_edge("openvino", save(attention(PROBABILITY), tmp_path / "m.onnx"))
    with pytest.raises(MptqError, match="check the input's shape"):
        session.run(SAMPLES[:1, :4])

"""Documented session options of onnxruntime open the file and leave its bits alone."""

import numpy as np
import onnx
import onnxruntime
import pytest
from tiny_models import images, quantized

from mptq_export.emit.exact.emitter import emit
from mptq_export.quantize.method import MINMAX

CASES = [("vit", (8, 8)), ("vit", (4, 4)), ("swin", (8, 8)), ("levit", (8, 8)), ("crossvit", (8, 8)), ("cait", (4, 8))]


def emitted(kind: str, bits: tuple[int, int]) -> onnx.ModelProto:
    graph, recipe = quantized(kind, bits, MINMAX)
    return emit(graph, recipe, input_type="float32", producer="test")


def run(model: onnx.ModelProto, kind: str, options: dict[str, str]) -> np.ndarray:
    asked = onnxruntime.SessionOptions()
    asked.log_severity_level = 4
    for name, value in options.items():
        asked.add_session_config_entry(name, value)
    session = onnxruntime.InferenceSession(model.SerializeToString(), asked, providers=["CPUExecutionProvider"])
    return session.run(None, {"input": images(kind, 3).numpy()})[0]


@pytest.mark.parametrize(("kind", "bits"), CASES)
def test_unsigned_weights_for_cpus_without_vnni(kind: str, bits: tuple[int, int]):
    """`session.x64quantprecision`: uint8 weights, whose kernels add in int32 alone."""
    model = emitted(kind, bits)
    assert np.array_equal(run(model, kind, {"session.x64quantprecision": "1"}), run(model, kind, {}))


@pytest.mark.parametrize(("kind", "bits"), CASES)
def test_int8_weights_and_zero_points_have_one_reader(kind: str, bits: tuple[int, int]):
    model = emitted(kind, bits)
    int8 = {t.name for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT8}
    read = [name for node in model.graph.node for name in node.input if name in int8]
    assert len(read) > 10
    assert len(read) == len(set(read))


@pytest.mark.parametrize(("kind", "bits"), CASES)
def test_flushing_subnormal_numbers_changes_no_bit(kind: str, bits: tuple[int, int]):
    model = emitted(kind, bits)
    assert np.array_equal(run(model, kind, {"session.set_denormal_as_zero": "1"}), run(model, kind, {}))

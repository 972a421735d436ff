"""A file holds the shape of every value, so that no tool has to infer them."""

from pathlib import Path

import onnx
import pytest
from onnxruntime.quantization.shape_inference import quant_pre_process
from tiny_models import quantized

from mptq_export.emit.exact.emitter import emit
from mptq_export.quantize.method import MINMAX


@pytest.mark.parametrize(("kind", "bits"), [("vit", (4, 4)), ("swin", (8, 8)), ("levit", (8, 8))])
def test_every_value_has_its_shape(kind: str, bits: tuple[int, int], tmp_path: Path):
    graph, recipe = quantized(kind, bits, MINMAX)
    model = emit(graph, recipe, input_type="float32", producer="test")
    known = {info.name: info.type.tensor_type for info in (*model.graph.value_info, *model.graph.output)}
    for node in model.graph.node:
        for name in node.output:
            assert known[name].HasField("shape"), name
            sizes = [dim.dim_value for dim in known[name].shape.dim]
            assert sizes.count(0) <= 1, name  # all but the batch are numbers
    onnx.save(model, tmp_path / "m.onnx")
    quant_pre_process(tmp_path / "m.onnx", tmp_path / "prepared.onnx", skip_symbolic_shape=True)
    assert onnx.load(tmp_path / "prepared.onnx").graph.output[0].name == "logits"

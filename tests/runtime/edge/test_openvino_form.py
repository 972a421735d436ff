"""A file for OpenVINO as OpenVINO runs it: what the spelling of the portable form is for."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from tiny_models import KINDS, images, tiny

from mptq_export.calibrate.request import CalibrationRequest
from mptq_export.export.outputs import Outputs
from mptq_export.export.plan import Uniform
from mptq_export.export.request import ExportRequest
from mptq_export.export.run import export_model
from mptq_export.load.request import ModelRequest
from mptq_export.runtime.edge.opening import open_edge
from mptq_export.runtime.edge.options import EdgeOptions, Precision

pytest.importorskip("openvino", reason="OpenVINO comes with pip install openvino")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("openvino")
    arch, kwargs = KINDS["vit"]
    torch.save({"arch": arch, "model_kwargs": kwargs, "state_dict": dict(tiny("vit").state_dict())}, folder / "m.pt")
    outputs = Outputs(folder / "m.onnx", target="openvino")
    export_model(ExportRequest(ModelRequest(str(folder / "m.pt")), Uniform(), outputs, CalibrationRequest(count=4)))
    return outputs.onnx


@pytest.mark.parametrize("precision", ["f32", None])
def test_every_matmul_is_in_integers_and_no_quantizer_stands_alone_in_a_block(
    exported: Path, precision: Precision | None
):
    placed = open_edge("openvino", exported, EdgeOptions(precision=precision)).placement.ops
    products = [each for each in placed if any(op in each.op for op in ("MatMul", "Gemm", "Conv"))]
    assert sum(each.count for each in products) == 12  # 4 linears and one attention in 2 blocks, patches, head
    assert {each.numbers for each in products} == {"INT8"}
    norms = [each for each in placed if "LayerNormalization" in each.op]
    assert {each.op for each in norms} == {"LayerNormalization"} and sum(each.count for each in norms) == 5


def test_it_computes_what_the_file_says_in_floats_of_either_type(exported: Path):
    x = images("vit", 4).numpy()
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(exported), options, providers=["CPUExecutionProvider"])
    (said,) = session.run(None, {"input": x})
    for precision in ("f32", None):
        (found,) = open_edge("openvino", exported, EdgeOptions(precision=precision)).run(x).values()  # type: ignore[arg-type]
        noise = np.square(found - said).sum() / np.square(said - said.mean(1, keepdims=True)).sum()
        assert noise < 0.01


def test_norms_have_their_own_shape_and_codes_of_the_second_factor_are_made_in_front_of_its_transposition(
    exported: Path,
):
    model = onnx.load(exported)
    makers = {name: node for node in model.graph.node for name in node.output}
    ranks = {
        entry.name: len(entry.type.tensor_type.shape.dim) for entry in (*model.graph.value_info, *model.graph.input)
    }
    norms = [node for node in model.graph.node if node.op_type == "LayerNormalization"]
    assert norms and {ranks[node.input[0]] for node in norms[:-1]} == {3}
    scores = [node for node in model.graph.node if node.op_type == "MatMul" and node.name.endswith("scores")]
    assert len(scores) == 2
    for node in scores:
        swap = makers[node.input[1]]
        assert (swap.op_type, list(swap.attribute[0].ints)) == ("Transpose", [0, 1, 3, 2])
        assert makers[swap.input[0]].op_type == "DequantizeLinear"

"""A file for Rockchip's NPUs: it keeps the rules of its target, and the simulator gives what it says, bit by bit."""

import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from tiny_models import KINDS, images, tiny

from mptq_export.calibrate.request import CalibrationRequest
from mptq_export.export.outputs import Outputs
from mptq_export.export.plan import Uniform
from mptq_export.export.request import ExportRequest
from mptq_export.export.run import export_model
from mptq_export.load.request import ModelRequest
from mptq_export.runtime.edge.opening import open_edge
from mptq_export.runtime.edge.rknn import PYTHON_VARIABLE


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny ViT with patches of 8 pixels, whose convolution has a stride that the toolkit does not survive."""
    folder = tmp_path_factory.mktemp("rknn")
    arch, kwargs = KINDS["vit"]
    torch.save({"arch": arch, "model_kwargs": kwargs, "state_dict": dict(tiny("vit").state_dict())}, folder / "m.pt")
    outputs = Outputs(folder / "m.onnx", target="rknn")
    plan = Uniform(method="paper")
    export_model(ExportRequest(ModelRequest(str(folder / "m.pt")), plan, outputs, CalibrationRequest(count=4)))
    return outputs.onnx


def constants(model: onnx.ModelProto) -> dict[str, NDArray[np.generic]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_no_8_bit_tensor_has_zero_points_in_the_middle_alone(exported: Path):
    model = onnx.load(exported)
    stored = constants(model)
    seen = 0
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero_points = stored[node.input[2]]
            if zero_points.dtype != np.int32:  # a bias is read as it is
                middle = 128 if zero_points.dtype == np.uint8 else 0
                assert np.any(zero_points != middle), node.name
                seen += 1
    assert seen > 50


def test_weights_are_those_of_the_recipe_whatever_their_zero_points_are(exported: Path):
    model = onnx.load(exported)
    stored = constants(model)
    zero_points = stored["blocks.0.mlp.fc1.weight.zero_point"]
    assert zero_points.tolist() == [-1, *[0] * (len(zero_points) - 1)]
    codes = stored["blocks.0.mlp.fc1.weight.codes"].astype(int) - zero_points
    assert codes.min() >= -127 and np.abs(codes).max(axis=0).min() > 100


def test_a_softmax_has_steps_of_a_power_of_two(exported: Path):
    model = onnx.load(exported)
    stored = constants(model)
    made = {node.input[0]: node for node in model.graph.node if node.op_type == "QuantizeLinear"}
    softmax = [node for node in model.graph.node if node.op_type == "Softmax"]
    assert len(softmax) == 2
    assert {float(stored[made[node.output[0]].input[1]]) for node in softmax} == {2**-8}


def test_strides_divide_and_gelu_divides(exported: Path):
    model = onnx.load(exported)
    strides = [
        list(a.ints) for n in model.graph.node if n.op_type == "Conv" for a in n.attribute if a.name == "strides"
    ]
    assert strides == [[4, 4], [2, 2]]
    makers = {node.output[0]: node.op_type for node in model.graph.node}
    assert {makers[node.input[0]] for node in model.graph.node if node.op_type == "Erf"} == {"Div"}
    assert all(
        any(a.name == "epsilon" for a in n.attribute) for n in model.graph.node if n.op_type == "LayerNormalization"
    )


@pytest.mark.skipif(
    PYTHON_VARIABLE not in os.environ, reason=f"{PYTHON_VARIABLE} names no environment with the toolkit"
)
def test_the_simulator_gives_what_the_file_says_bit_by_bit(exported: Path):
    x = images("vit", 4).numpy()
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    said = ort.InferenceSession(exported, options, providers=["CPUExecutionProvider"])
    session = open_edge("rknn", exported)
    try:
        placement = session.placement
        assert not placement.left and not placement.floating and len(placement.ops) > 5
        for row in x:
            (expected,) = said.run(None, {"input": row[None]})
            (found,) = session.run(row[None]).values()
            assert np.abs(found.reshape(expected.shape) - expected).max() < 1e-6
    finally:
        session.close()

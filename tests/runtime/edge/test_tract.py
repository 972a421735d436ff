"""tract: what is right there, what is wrong in silence, and what its record says."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import helper
from tiny_models import KINDS, images, tiny

from mptq_export.calibrate.request import CalibrationRequest
from mptq_export.export.outputs import Outputs
from mptq_export.export.plan import Uniform
from mptq_export.export.request import ExportRequest
from mptq_export.export.run import export_model
from mptq_export.load.request import ModelRequest
from mptq_export.runtime.edge.options import EdgeOptions
from mptq_export.support.errors import MptqError
from tests.runtime.edge.codes_between import CodesBetween, X, Y, erf_gelu, softmax

pytest.importorskip("tract", reason="tract is optional")

from mptq_export.runtime.edge.tract import open_tract


def steps_off(graph: CodesBetween, path: Path) -> Any:
    session = open_tract(graph.write(path / "codes.onnx"), EdgeOptions())
    inputs = graph.inputs()
    return graph.steps_off(np.stack([session.run(x)["y"] for x in inputs]), path / "codes.onnx", inputs)


def test_a_softmax_between_codes_of_one_type_is_wrong_in_silence(tmp_path: Path) -> None:
    """tract takes what stands between DequantizeLinear and QuantizeLinear for a function of single numbers."""
    assert np.abs(steps_off(softmax(np.int8(0), np.int8(-128)), tmp_path)).min() > 30


def test_codes_of_another_type_behind_a_function_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MptqError, match=r"tract refuses codes\.onnx: running pass declutter") as refused:
        steps_off(softmax(np.int8(0), np.uint8(0)), tmp_path)
    assert "Stack backtrace" not in str(refused.value)


def test_a_softmax_that_reads_floats_is_right(tmp_path: Path) -> None:
    """So scores have no codes of their own in a file for tract."""
    nodes = [
        helper.make_node("Transpose", [X], ["turned"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", [X, "turned"], ["scores"]),
        helper.make_node("Softmax", ["scores"], [Y], axis=-1),
    ]
    graph = CodesBetween(nodes, (1, 2, 8, 16), x=(0.01, np.int8(3)), y=(2**-8, np.uint8(0)))
    assert not steps_off(graph, tmp_path).any()


def test_gelu_in_parts_is_right(tmp_path: Path) -> None:
    assert not steps_off(erf_gelu(divided=True), tmp_path).any()


def test_the_record_says_what_multiplies_in_floats(tmp_path: Path) -> None:
    weight = {"weight": np.linspace(-1, 1, 256, dtype=np.float32).reshape(16, 16)}
    graph = CodesBetween([helper.make_node("MatMul", [X, "weight"], [Y])], (1, 16), weight)
    placement = open_tract(graph.write(tmp_path / "codes.onnx"), EdgeOptions()).placement
    assert [(placed.op, placed.numbers) for placed in placement.floating] == [("OptMatMul", "F32")]
    assert not placement.left


def test_what_cannot_be_run_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "no.onnx").write_bytes(b"hello")
    with pytest.raises(MptqError, match=r"tract refuses no\.onnx: failed to decode"):
        open_tract(tmp_path / "no.onnx", EdgeOptions())
    session = open_tract(erf_gelu(divided=True).write(tmp_path / "codes.onnx"), EdgeOptions())
    with pytest.raises(MptqError, match=r"tract fails on codes\.onnx"):
        session.run(np.zeros((1, 15), np.float32))


def test_a_file_for_it_is_right(tmp_path: Path) -> None:
    arch, kwargs = KINDS["vit"]
    torch.save({"arch": arch, "model_kwargs": kwargs, "state_dict": dict(tiny("vit").state_dict())}, tmp_path / "m.pt")
    outputs = Outputs(tmp_path / "m.onnx", target="tract")
    plan = Uniform(method="paper")
    export_model(ExportRequest(ModelRequest(str(tmp_path / "m.pt")), plan, outputs, CalibrationRequest(count=4)))
    nodes = onnx.load(outputs.onnx).graph.node
    makers = {node.output[0]: node.op_type for node in nodes}
    read = [makers[node.input[0]] for node in nodes if node.op_type == "Softmax"]
    assert read and "DequantizeLinear" not in read
    x = images("vit", 4).numpy()
    (found,) = open_tract(outputs.onnx, EdgeOptions()).run(x).values()
    (said,) = ort.InferenceSession(outputs.onnx, providers=["CPUExecutionProvider"]).run(None, {"input": x})
    assert np.abs(found - said).max() < 0.02 * np.abs(said).max()

"""Certified tables in the installed onnxruntime: all codes are run, and a step that is too fine is found."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper
from tiny_models import quantized

from mptq_export.cli.verify import main
from mptq_export.emit.exact.emitter import emit
from mptq_export.quantize.certification.boundaries import MARGIN
from mptq_export.recipe.onnx_contents import CONTENTS_KEY, contents_digest, contents_of
from mptq_export.support.errors import MptqError
from mptq_export.verify.code_functions import exhaustive as tables
from mptq_export.verify.code_functions.certified import certified_tables, table_difference
from mptq_export.verify.code_functions.exhaustive import check_tables
from mptq_export.verify.run import verify


def emitted(kind: str, bits: int) -> onnx.ModelProto:
    graph, recipe = quantized(kind, (bits, bits))
    return emit(graph, recipe, input_type="float32", producer="1")


def function(op: str, scale: float, zero_point: int, step: float, zero: int, **attributes: object) -> onnx.ModelProto:
    """Codes -> a function -> codes, the function's node being named `act`."""
    constants = {
        "s": np.float32(scale),
        "z": np.uint8(zero_point),
        "step": np.float32(step),
        "zero": np.uint8(zero),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "s", "z"], ["xf"]),
        helper.make_node(op, ["xf"], ["yf"], name="act", **attributes),
        helper.make_node("QuantizeLinear", ["yf", "step", "zero"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [None])],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, [None])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("kind", ["vit", "swin"])
def test_every_table_of_an_export_is_run(kind: str, bits: int):
    model = emitted(kind, bits)
    ops = [node.op_type for node in model.graph.node]
    assert ops.count("Exp") > 0
    assert check_tables(model) >= 256 * (ops.count("Gelu") + ops.count("Exp")) - 255 * ops.count("Exp")


def test_the_distances_of_a_softmax_end_where_its_codes_do():
    model = emitted("swin", 8)
    cut = {table.source: table for table in tables._Cutter(model).tables()}
    table = cut["layers.0.blocks.1.attn.softmax.softmax.distance"]  # a bias and a mask
    (codes,) = table.codes
    step = next(numpy_helper.to_array(t) for t in model.graph.initializer if t.name == table.nodes[codes].input[1])
    assert table.values[0] == 0
    assert (np.diff(table.values) < 0).all()
    assert math.exp(float(table.values[-1])) < float(step) / 2


def test_a_step_that_is_finer_than_a_runtimes_gelu_is_found():
    # x from -8.7 to 0: gelu is -1e-17 there at first, and float32 sums near -1 are only good to 6e-8
    with pytest.raises(MptqError, match=r"^act: Gelu of the installed onnxruntime \S+ gives code \d+ where every .*"):
        check_tables(function("Gelu", 0.034, 255, 4e-9, 255))


def test_a_result_beside_a_rounding_boundary_is_found_wherever_it_stands(monkeypatch: pytest.MonkeyPatch):
    model = function("Tanh", 0.02, 128, 1 / 127, 128)
    assert check_tables(model) == 256
    runs: list[int] = []
    compare: Callable[..., str] = tables._problem

    def counted(table: object, name: str, index: np.ndarray, *rest: object) -> str:
        runs.append(len(index))
        return compare(table, name, index, *rest)

    monkeypatch.setattr(tables, "_problem", counted)
    check_tables(model)
    assert runs[:2] == [256, 256]
    assert runs[2:] == [3] * 86  # every code is the end of some vector


def test_a_function_of_unknown_arguments_is_refused():
    model = function("Gelu", 0.03, 128, 0.02, 8)
    model.graph.node[0].CopyFrom(helper.make_node("Cast", ["x"], ["xf"], to=TensorProto.FLOAT))
    with pytest.raises(MptqError, match=r"^act: not all that Gelu can read is known here"):
        check_tables(model)


def test_a_file_without_functions_has_no_tables():
    model = function("Relu", 0.03, 128, 0.02, 8)
    assert check_tables(model) == 0


class Worse(ort.InferenceSession):  # type: ignore[misc]
    """Wrong for one code alone, which few inputs reach."""

    def run(self, names: list[str], feed: dict[str, Any]) -> list[Any]:
        (codes,), (arguments,) = super().run(names, feed), feed.values()
        return [codes ^ (arguments == 201)]


@pytest.mark.parametrize("worse", [False, True])
def test_a_finished_file_is_checked_for_all_codes_wherever_it_is_verified(
    worse: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    model = function("Tanh", 0.02, 128, 1 / 127, 128)
    model.metadata_props.add(key=CONTENTS_KEY, value=contents_digest(contents_of(model)))
    onnx.save(model, tmp_path / "m.onnx")
    if worse:
        mine = SimpleNamespace(InferenceSession=Worse, SessionOptions=ort.SessionOptions, __version__="9.9")
        monkeypatch.setattr(tables, "ort", mine)
    result = CliRunner().invoke(main, [str(tmp_path / "m.onnx"), "--random", "2", "--json", str(tmp_path / "r.json")])
    found = json.loads((tmp_path / "r.json").read_text())
    assert found["table_arguments"] == 256 and found["differing"] == 0
    assert "all 256 arguments of the functions were run in this onnxruntime" in result.stdout
    if worse:
        assert result.exit_code == 1 and found["verdict"] == "different"
        assert "act: Tanh of the installed onnxruntime 9.9 gives code" in found["table_problem"]
        assert "DIFFERENT: a function of this onnxruntime gives another code" in result.stdout
    else:
        assert found["table_problem"] == "" and found["verdict"] != "different"


def test_a_file_of_another_maker_is_compared_on_its_inputs_alone(tmp_path: Path):
    onnx.save(function("Tanh", 0.02, 128, 1 / 127, 128), tmp_path / "m.onnx")
    assert verify(tmp_path / "m.onnx", count=2).tables is None


@pytest.mark.parametrize(("step", "held"), [(0.02, 0.02), (4e-9, 2.0**-22 * 255 * np.float32(0.034) / MARGIN)])
def test_floats_are_held_to_the_margin_or_to_what_a_runtime_may_be_wrong_by(step: float, held: float):
    (found,) = certified_tables(function("Gelu", 0.034, 255, step, 255)).values()
    assert found == pytest.approx(held, rel=1e-6)
    got, expected = np.float32([1.0, -2e-7]), np.float32([1.0, -2e-7])
    got[1] += np.float32(0.9 * MARGIN * held)
    assert not table_difference(got, expected, found).differing
    got[1] += np.float32(0.2 * MARGIN * held)
    assert table_difference(got, expected, found).differing == 1

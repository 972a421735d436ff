"""The three verdicts: exact, equal on these inputs, different."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from kernels_ref import Interpreter
from mptq_export.cli.verify import main
from mptq_export.recipe.onnx_contents import CONTENTS_KEY, contents_digest, contents_of
from mptq_export.verify.compare import verify_model
from mptq_export.verify.report import VerifyReport

from .graphs import linear_model, safe_weights, save

#: Steps of GELU's results: no code's is near a rounding boundary; that of x = 1 is on one.
CLEAR = np.float32(1 / 254.7)
ON_A_BOUNDARY = np.float32(0.5 * (1 + math.erf(math.sqrt(0.5))) / 146.5)


def graph(nodes: list[onnx.NodeProto], tensors: dict[str, Any], kind: int, output: int = TensorProto.UINT8) -> Any:
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, ["batch", 6])],
        [helper.make_tensor_value_info("y", output, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def function_of_codes(op: str, step: np.float32) -> onnx.ModelProto:
    """Codes -> DequantizeLinear -> op -> QuantizeLinear."""
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "s", "z"], ["d"], "d"),
        helper.make_node(op, ["d"], ["f"], "f"),
        helper.make_node("QuantizeLinear", ["f", "step", "zero"], ["y"], "y"),
    ]
    tensors = {"s": np.float32(0.015625), "z": np.uint8(128), "step": step, "zero": np.uint8(0)}
    return graph(nodes, tensors, TensorProto.UINT8)


def report_of(path: Path, x: NDArray[Any]) -> VerifyReport:
    return verify_model(path, [x], threads=1)


def codes(count: int = 2) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 60, (count, 6), np.uint8)


def test_integers_are_exact(good: Path):
    report = report_of(good, np.random.default_rng(5).standard_normal((2, 24)).astype(np.float32))
    assert (report.verdict, report.exact, report.passed, report.reservations) == ("exact", True, True, ())


def test_a_function_of_codes_is_exact_where_all_its_results_are_clear_of_boundaries(tmp_path: Path):
    report = report_of(save(function_of_codes("Gelu", CLEAR), tmp_path / "m.onnx"), codes())
    assert (report.verdict, report.reservations) == ("exact", ())
    assert report.count("certified") == 1


def test_a_result_on_a_boundary_is_named_even_if_no_input_reaches_it(tmp_path: Path):
    """What other inputs give is not looked at by comparing; here all codes are tried."""
    report = report_of(save(function_of_codes("Gelu", ON_A_BOUNDARY), tmp_path / "m.onnx"), codes())
    assert report.equal and report.verdict == "equal on these inputs" and not report.passed
    (reason,) = report.reservations
    assert reason.startswith("f: Gelu: ") and "near to a rounding boundary" in reason


def test_a_function_of_floats_is_named(tmp_path: Path):
    nodes = [helper.make_node("Exp", ["x"], ["y"], "y")]
    path = save(graph(nodes, {}, TensorProto.FLOAT, TensorProto.FLOAT), tmp_path / "m.onnx")
    report = report_of(path, np.zeros((2, 6), np.float32))  # e^0 is 1 everywhere
    assert report.verdict == "equal on these inputs"
    assert report.unclaimed == {"y": "Exp: a runtime's function may differ in the last bits"}


def test_what_no_output_depends_on_is_no_reason(tmp_path: Path):
    nodes = [helper.make_node("Exp", ["x"], ["e"], "e"), helper.make_node("Abs", ["x"], ["y"], "y")]
    path = save(graph(nodes, {}, TensorProto.FLOAT, TensorProto.FLOAT), tmp_path / "m.onnx")
    assert report_of(path, np.ones((2, 6), np.float32)).verdict == "exact"


def test_a_kernel_of_another_plan_stands_against_exact(good: Path):
    exact = report_of(good, np.zeros((1, 24), np.float32))
    report = replace(exact, disagreements=("y: onnxruntime ran QGemm",))
    assert (report.verdict, report.reservations) == ("equal on these inputs", ("y: onnxruntime ran QGemm",))


def run(path: Path, *arguments: object) -> tuple[int, str, dict[str, Any]]:
    written = path.with_suffix(".json")
    result = CliRunner().invoke(main, [str(path), *map(str, arguments), "--json", str(written)])
    return result.exit_code, result.output, json.loads(written.read_text())


def test_a_script_can_tell_the_verdicts_apart(good: Path, tmp_path: Path):
    status, _, content = run(good)
    assert (status, content["verdict"], content["unclaimed"], content["disagreements"]) == (0, "exact", {}, [])
    nodes = [helper.make_node("Exp", ["x"], ["y"], "y")]
    model = graph(nodes, {}, TensorProto.FLOAT, TensorProto.FLOAT)
    model.graph.node.insert(0, helper.make_node("Mul", ["x", "zero"], ["m"], "m"))
    model.graph.node[1].input[0] = "m"
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0), "zero"))
    status, output, content = run(save(model, tmp_path / "exp.onnx"))
    assert (status, content["verdict"], list(content["unclaimed"])) == (3, "equal on these inputs", ["y"])
    assert "not proved: y: Exp: " in output and "equal on these inputs: 0 differing values" in output


def test_a_sum_of_floats_is_named_and_no_matmul_in_float_passes(tmp_path: Path):
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], "y")]
    model = graph(nodes, {"w": np.eye(6, dtype=np.float32)}, TensorProto.FLOAT, TensorProto.FLOAT)
    status, output, content = run(save(model, tmp_path / "m.onnx"))
    assert (status, content["verdict"]) == (3, "equal on these inputs")
    assert "not proved: y: MatMul: a runtime may add floats in another order" in output
    assert "runs in float" in output


def test_weights_that_give_other_sums_are_different(good: Path, tmp_path: Path):
    """A reference that reads another file stands for a runtime that computes something else."""
    weights = safe_weights()
    weights[7, 4] ^= 63
    other = Interpreter(linear_model(weights))
    x = np.random.default_rng(5).standard_normal((6, 24)).astype(np.float32)
    report = verify_model(good, [x], threads=1, reference=other)
    assert (report.verdict, report.exact, report.equal) == ("different", False, False)
    assert report.diverging[0].name == "y_q"


#: ONNX types that NumPy does not have, each with numbers that it holds.
RARE = [TensorProto.BFLOAT16, TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT8E5M2, TensorProto.INT4, TensorProto.UINT4]


@pytest.mark.parametrize("kind", RARE, ids=TensorProto.DataType.Name)
def test_outputs_of_types_that_numpy_lacks_are_compared(tmp_path: Path, kind: int):
    nodes = [
        helper.make_node("Clip", ["x", "low", "high"], ["c"], "c"),
        helper.make_node("Cast", ["c"], ["y"], "y", to=kind),
    ]
    tensors = {"low": np.float32(0), "high": np.float32(7)}
    path = save(graph(nodes, tensors, TensorProto.FLOAT, kind), tmp_path / "m.onnx")
    x = np.random.default_rng(0).integers(-2, 9, (3, 6)).astype(np.float32)
    report = report_of(path, x)
    assert (report.verdict, report.count("compared"), report.values) == ("exact", 2, 36)
    report = verify_model(path, [x], threads=1, reference=Changed(Interpreter(path)))
    assert (report.verdict, [tensor.name for tensor in report.diverging]) == ("different", ["y"])
    assert report.outputs["y"].differing == 1


class Changed:
    """A reference that gives another last value of y."""

    def __init__(self, of: Interpreter):
        self.of, self.unclaimed, self.every_value, self.kernels = of, of.unclaimed, of.every_value, of.kernels

    def run(self, feeds: dict[str, Any], *, trace: Any) -> dict[str, Any]:
        values = self.of.run(feeds, trace=trace)
        y = values["y"] = values["y"].copy()
        y.flat[-1] = np.float32(3) if y.flat[-1] != np.float32(3) else np.float32(2)
        return values


def test_a_type_whose_values_are_not_compared_is_refused_by_name(tmp_path: Path):
    nodes = [helper.make_node("Identity", ["word"], ["y"], "y"), helper.make_node("Abs", ["x"], ["a"], "a")]
    model = graph(nodes, {}, TensorProto.FLOAT, TensorProto.STRING)
    model.graph.initializer.append(helper.make_tensor("word", TensorProto.STRING, [1], [b"cat"]))
    path = save(model, tmp_path / "m.onnx")
    result = CliRunner().invoke(main, [str(path)])
    assert result.exit_code == 2 and result.stderr.count("\n") == 1
    assert f"output y of {path} is tensor(string), whose values are not compared" in result.stderr


def empty(nodes: list[onnx.NodeProto], tensors: dict[str, Any], path: Path) -> Path:
    return save(graph(nodes, tensors, TensorProto.FLOAT, TensorProto.FLOAT), path)


def test_a_file_without_a_value_to_compare_is_refused(tmp_path: Path):
    part = empty([helper.make_node("Slice", ["x", "n", "n"], ["y"], "y")], {"n": np.asarray([0])}, tmp_path / "a.onnx")
    nodes = [helper.make_node("Shape", ["x"], ["s"], "s"), helper.make_node("ConstantOfShape", ["e"], ["y"], "y")]
    folded = empty(nodes, {"e": np.asarray([0, 3])}, tmp_path / "b.onnx")
    for path in (part, folded):
        result = CliRunner().invoke(main, [str(path)])
        assert result.exit_code == 2, result.output
        assert result.stderr.startswith(f"error: there is nothing to compare in {path}: ")


def test_a_hash_of_its_own_is_called_self_declared(good: Path, tmp_path: Path):
    model = onnx.load(good)
    model.metadata_props.add(key=CONTENTS_KEY, value=contents_digest(contents_of(model)))
    status, output, content = run(save(model, tmp_path / "signed.onnx"))
    assert status == 0 and content["origin"]["proved_by"] is None
    assert "as its own hash says" in output and "self-declared, --recipe proves it" in output

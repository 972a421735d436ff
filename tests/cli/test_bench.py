"""mptq-bench from the command line."""

import json
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto, helper

from mptq_export.cli.bench import main


def bench(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def product(path: Path, *, dtype: int = TensorProto.FLOAT, shape: tuple[int | str, ...] = ("batch", 3, 4, 4)) -> Path:
    """A file that multiplies its input with itself, transposed: two nodes."""
    nodes = [
        helper.make_node("Cast", ["input"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 1, 3, 2]),
        helper.make_node("Add", ["x", "t"], ["s"]),
        helper.make_node("MatMul", ["s", "x"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "product",
        [helper.make_tensor_value_info("input", dtype, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return path


def assert_refused(result: Result, *words: str) -> None:
    assert result.exit_code == 2, (result.output, result.exception)
    assert result.stdout == ""
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    for word in words:
        assert word in result.stderr


def test_two_files_beside_each_other(tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = product(tmp_path / "a" / "m.onnx"), product(tmp_path / "b" / "m.onnx", dtype=TensorProto.UINT8)
    report = tmp_path / "r.json"
    result = bench(first, second, "--rounds", 3, "--batch", 2, "--threads", 2, "--json", report)
    assert result.exit_code == 0, (result.output, result.exception)
    for words in ("threads 2, batch 2, 3 rounds", "a/m.onnx", "b/m.onnx", "peak MB", "data movement", "MatMul"):
        assert words in result.stdout, result.stdout
    content = json.loads(report.read_text())
    assert (content["threads"], content["batch"], content["rounds"]) == (2, 2, 3)
    assert set(content["cpu"]) == {"name", "machine", "instruction_sets"}
    base, other = content["models"]
    assert base["ratio"] == {"low": 1.0, "median": 1.0, "high": 1.0}
    assert 0 < other["ratio"]["low"] <= other["ratio"]["median"] <= other["ratio"]["high"]
    for model, path in ((base, first), (other, second)):
        assert model["file_bytes"] == path.stat().st_size
        assert model["load_ms"] > 0
        assert set(model["profile"]["groups_ms"]) == {"matmul", "element-wise", "data movement"}
        groups = {op["op"]: op["group"] for op in model["profile"]["ops"]}
        assert (
            groups["MatMul"] == "matmul" and groups["Transpose"] == "data movement" and groups["Add"] == "element-wise"
        )


def test_the_reference_runs_what_it_can(tmp_path: Path):
    good = product(tmp_path / "good.onnx")
    model = onnx.load(good)
    model.graph.node[2].CopyFrom(helper.make_node("Celu", ["x"], ["s"]))  # kernels_ref has no such op
    onnx.save(model, tmp_path / "strange.onnx")
    result = bench(good, tmp_path / "strange.onnx", "--rounds", 1, "--reference", "--json", tmp_path / "r.json")
    assert result.exit_code == 0, (result.output, result.exception)
    content = json.loads((tmp_path / "r.json").read_text())
    assert [(model["name"], model["runner"]) for model in content["models"]] == [
        ("good.onnx", "onnxruntime"),
        ("strange.onnx", "onnxruntime"),
        ("kernels_ref, good.onnx", "kernels_ref"),
    ]
    assert "profile" not in content["models"][2]
    (reason,) = content["left_out"]
    assert "strange.onnx" in reason and "Celu" in reason
    assert "left out: kernels_ref cannot run" in result.stdout


def test_a_fixed_batch_is_taken_and_must_fit(tmp_path: Path):
    fixed, free = product(tmp_path / "fixed.onnx", shape=(3, 3, 4, 4)), product(tmp_path / "free.onnx")
    result = bench(free, fixed, "--rounds", 1)
    assert result.exit_code == 0, result.output
    assert "batch 3, 1 rounds" in result.stdout
    assert_refused(bench(free, fixed, "--batch", 2), "fixed.onnx", "batch at 3", "cannot run at 2")
    assert_refused(bench(product(tmp_path / "one.onnx", shape=(1, 3, 4, 4)), fixed), "fixed.onnx", "batch at 3")


@pytest.mark.parametrize("content", [b"", b"garbage"])
def test_garbage(tmp_path: Path, content: bytes):
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    assert_refused(bench(path), "bad.onnx")


def test_files_that_cannot_be_timed(tmp_path: Path):
    good = product(tmp_path / "good.onnx")
    assert_refused(bench(tmp_path / "none.onnx"), "none.onnx", "cannot read")
    assert_refused(bench(tmp_path), "cannot read")
    assert_refused(bench(good, good), "good.onnx is named twice")
    assert_refused(bench(product(tmp_path / "h.onnx", dtype=TensorProto.FLOAT16)), "h.onnx", "float16", "float32")
    free = product(tmp_path / "free.onnx", shape=("batch", 3, "height", 4))
    assert_refused(bench(free), "free.onnx", "free shape", "height")
    broken = onnx.load(good)
    broken.graph.node[2].op_type = "Nonsense"
    onnx.save(broken, tmp_path / "broken.onnx")
    assert_refused(bench(tmp_path / "broken.onnx"), "broken.onnx", "onnxruntime cannot load")


def test_a_file_that_fails_when_it_runs(tmp_path: Path):
    model = onnx.load(product(tmp_path / "m.onnx"))
    model.graph.node[1].CopyFrom(helper.make_node("Reshape", ["x", "one"], ["t"]))
    model.graph.initializer.append(helper.make_tensor("one", TensorProto.INT64, [4], [1, 3, 4, 4]))
    onnx.save(model, tmp_path / "m.onnx")
    assert bench(tmp_path / "m.onnx", "--rounds", 1).exit_code == 0
    assert_refused(bench(tmp_path / "m.onnx", "--batch", 2), "m.onnx", "onnxruntime cannot run", "check the input")


def test_several_inputs(tmp_path: Path):
    model = onnx.load(product(tmp_path / "m.onnx"))
    model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1]))
    onnx.save(model, tmp_path / "m.onnx")
    assert_refused(bench(tmp_path / "m.onnx"), "m.onnx", "exactly one input", "mask")


def test_wrong_command_lines(tmp_path: Path):
    good = product(tmp_path / "m.onnx")
    assert_refused(bench(), "MODEL", "--help")
    assert_refused(bench(good, "--threads", 0), "--threads")
    assert_refused(bench(good, "--json", good / "r.json"), "is a file, not a folder")


def test_a_runtime_is_timed_in_turn_with_onnxruntime_and_says_what_it_made_of_the_file(tmp_path: Path):
    pytest.importorskip("openvino", reason="OpenVINO comes with pip install openvino")
    first, second = product(tmp_path / "a.onnx"), product(tmp_path / "b.onnx", dtype=TensorProto.UINT8)
    report = tmp_path / "r.json"
    result = bench(first, second, "--runtime", "openvino", "--precision", "f32", "--rounds", 2, "--json", report)
    assert result.exit_code == 0, result.output
    models = json.loads(report.read_text())["models"]
    names = ["a.onnx", "openvino, a.onnx", "b.onnx", "openvino, b.onnx"]
    assert [model["name"] for model in models] == names
    assert [model["runner"] for model in models] == ["onnxruntime", "openvino"] * 2
    for here, there in (models[:2], models[2:]):
        assert here["elsewhere"] is None and "profile" in here and "profile" not in there
        assert "floats as f32" in there["elsewhere"]["device"]
        assert any(op["numbers"] == "FP32" for op in there["elsewhere"]["placement"]["ops"])
        assert there["ratio"]["median"] > 0
    assert "openvino, b.onnx: OpenVINO 2" in result.stdout and "in floats: " in result.stdout


def test_a_precision_without_a_runtime_and_a_simulator_are_refused(tmp_path: Path):
    good = product(tmp_path / "good.onnx")
    assert_refused(bench(good, "--precision", "f32"), "--precision goes with --runtime")
    assert_refused(bench(good, "--runtime", "qnn"), "--runtime", "openvino")

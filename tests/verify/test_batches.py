"""A file whose results depend on the batch is found, although onnxruntime and kernels_ref agree on it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import helper, numpy_helper

from mptq_export.cli.verify import main
from mptq_export.runtime.graph_input import GraphInput
from mptq_export.support.errors import MptqError
from mptq_export.verify.batches import BatchCheck
from mptq_export.verify.compare import verify_model
from mptq_export.verify.run import verify

from .graphs import K, N, linear_model, safe_weights, save


def reshaped(path: Path, shape: list[int], *, transposed: bool = False) -> Path:
    """The good file with its logits through a Reshape to a shape that was written down for one batch size."""
    model = linear_model(safe_weights())
    model.graph.node[-1].output[0] = "sums"
    model.graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), "shape"))
    turn = helper.make_node("Transpose", ["sums"], ["turned"], "turn", perm=[1, 0])
    nodes = [helper.make_node("Reshape", ["turned" if transposed else "sums", "shape"], ["logits"], "frozen")]
    model.graph.node.extend([turn, *nodes] if transposed else nodes)
    return save(model, path)


@pytest.mark.parametrize(
    ("shape", "transposed"),
    [
        pytest.param([2, -1], False, id="right for two alone"),
        pytest.param([-1, N], True, id="right for one alone"),
    ],
)
def test_a_frozen_batch_is_not_called_exact(tmp_path: Path, shape: list[int], transposed: bool):
    path = reshaped(tmp_path / "frozen.onnx", shape, transposed=transposed)
    report = verify(path)
    assert report.exact and not report.passed
    assert report.mixing > 0 and report.to_json()["together"]["logits"]["differing"] == report.mixing
    result = CliRunner().invoke(main, [str(path)])
    assert result.exit_code == 1
    assert "depends on the batch: " in result.stdout and "but results depend on the batch" in result.stdout


def test_a_file_that_takes_one_input_alone_says_so(tmp_path: Path):
    path = reshaped(tmp_path / "one.onnx", [1, N])
    result = CliRunner().invoke(main, [str(path)])
    assert result.exit_code == 2
    assert "with 3 inputs at once, though it leaves the batch free and one runs (see --batch)" in result.stderr
    assert CliRunner().invoke(main, [str(path), "--batch", "1"]).exit_code == 0


def test_a_good_file_runs_at_one_and_three(good: Path, tmp_path: Path):
    report = verify(good)
    assert report.passed and report.mixing == 0
    assert report.batches == {1: 15, 3: 12} and report.samples == 27
    assert report.inputs == {"random": 4, "constant": 9, "extreme": 14}
    assert report.together["logits"].values == 12 * N
    result = CliRunner().invoke(main, [str(good), "--json", str(tmp_path / "r.json")])
    assert "4 random, 9 constant and 14 extreme inputs at batches 1 and 3" in result.stdout
    content = json.loads((tmp_path / "r.json").read_text())
    assert content["batches"] == {"1": 15, "3": 12} and content["inputs"] == report.inputs
    asked = verify(good, count=2, batch=2)
    assert (asked.inputs, asked.batches) == ({"random": 2}, {2: 2})


def test_few_inputs_run_alone_and_by_three(good: Path):
    report = verify(good, count=1)
    assert (report.inputs, report.batches, report.passed) == ({"random": 1}, {1: 1, 3: 3}, True)


def test_what_does_not_fit_is_taken_from_the_inputs_alone(good: Path):
    rows = np.random.default_rng(0).standard_normal((5, K)).astype(np.float32)
    whole = verify_model(good, [rows[:1], rows[:4]])
    parted = verify_model(good, [rows[:1], rows[:4]], most_bytes=500)
    assert (whole.outputs_only, parted.outputs_only) == (0, 4)
    assert whole.batches == parted.batches == {1: 1, 4: 4}
    assert parted.values == whole.values and parted.passed
    assert parted.together["logits"].values == 4 * N


def runs(by_size: dict[int, Any]) -> Any:
    return lambda feed: {"y": by_size[len(feed["x"])]}


def compared(together: Any, alone: Any, shape: tuple[int | str, ...] = ("n", 2)) -> BatchCheck:
    check = BatchCheck(runs({3: np.asarray(together), 1: np.asarray(alone)}), GraphInput("x", "float32", shape), 1e9)
    assert [len(feed["x"]) for feed in check.parts(np.zeros((3, 2), np.float32))] == [3]
    return check


def test_outputs_that_do_not_grow_with_the_batch():
    assert compared([1.0, 2.0], [1.0, 2.0]).differences["y"].differing == 0
    assert compared([1.0, 2.5], [1.0, 2.0]).differences["y"].differing == 3
    assert compared(4.0, 4.0).differences["y"].differing == 0
    assert compared([[1.0]] * 3, [[1.0]]).differences["y"].differing == 0
    assert compared([[1.0]] * 2, [[1.0]]).differences["y"].differing > 0
    assert compared([[1.0]] * 3, [[1.0]], (3, 2)).differences == {}


def test_a_runtime_that_takes_one_alone():
    def run(feed: Any) -> Any:
        if len(feed["x"]) > 1:
            raise MptqError("onnxruntime cannot run the model")
        return {"y": np.zeros(1)}

    check = BatchCheck(run, GraphInput("x", "float32", ("n", 2)), 0)
    check.traced(8, 1)
    parts = check.parts(np.zeros((3, 2), np.float32))
    assert [len(next(parts)["x"]) for _ in range(3)] == [1, 1, 1]
    with pytest.raises(MptqError, match="runs one input, but not 3 at once"):
        next(parts)


def test_a_file_with_a_fixed_batch_runs_at_it(tmp_path: Path):
    model = linear_model(safe_weights(), output_shape=(4, N))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    onnx.checker.check_model(model)
    report = verify(save(model, tmp_path / "four.onnx"), count=6)
    assert (report.inputs, report.batches, report.together) == ({"random": 6}, {4: 8}, {})
    assert report.passed

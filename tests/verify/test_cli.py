"""mptq-verify from the command line, with the real kernels_ref."""

import json
import logging
import warnings
from pathlib import Path

import click
import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from mptq_export.cli.common import MptqCommand
from mptq_export.cli.terminal import Terminal, warn
from mptq_export.cli.verify import main
from mptq_export.data.preprocessing import Preprocessing
from mptq_export.support.errors import MptqError
from mptq_export.support.progress import tracked

from .graphs import extreme_weights, linear_model, safe_weights, save


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def assert_one_line_error(result: Result, *words: str) -> None:
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    assert all(word in result.stderr for word in words), result.stderr


@pytest.mark.parametrize("batch", [1, 3])
def test_good_file_passes(good: Path, tmp_path: Path, batch: int):
    report = tmp_path / "report.json"
    result = run(good, "--random", 7, "--batch", batch, "--threads", 1, "--json", report)
    assert result.exit_code == 0, result.output
    assert "exact: 0 differing values" in result.stdout and "1 integer, 0 float" in result.stdout
    content = json.loads(report.read_text())
    assert content["passed"] and content["differing"] == 0 and content["samples"] == 7
    assert [tensor["name"] for tensor in content["tensors"]][-1] == "logits"
    assert content["plan"]["matmuls"][0]["kind"] == "integer"


def test_uint8_file_passes(tmp_path: Path):
    assert run(save(linear_model(safe_weights(), uint8_input=True), tmp_path / "m.onnx")).exit_code == 0


def test_unsafe_weights_are_mentioned(tmp_path: Path):
    """Whether they give wrong bits depends on the CPU; that they can must always be said."""
    result = run(save(linear_model(extreme_weights(), uint8_input=True), tmp_path / "m.onnx"))
    assert result.exit_code in {1, 3} and "saturate on x86 without VNNI" in result.stdout


def test_float_matmul_fails_and_is_named(floating: Path):
    result = run(floating)
    assert result.exit_code == 1
    assert "runs in float: head/linear (Gemm, float32 x float32" in result.stdout


def test_help_shows_examples():
    result = run("--help")
    assert result.exit_code == 0 and "\nExamples:\n  mptq-verify model.mptq.onnx\n" in result.stdout


@pytest.mark.parametrize("content", [b"", b"garbage"])
def test_garbage(tmp_path: Path, content: bytes):
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    assert_one_line_error(run(path), "bad.onnx")


def test_truncated(good: Path):
    good.write_bytes(good.read_bytes()[:200])
    assert_one_line_error(run(good), "good.onnx")


def test_missing_file(tmp_path: Path):
    assert_one_line_error(run(tmp_path / "none.onnx"), "none.onnx", "cannot read")


def test_an_op_that_the_reference_does_not_know(tmp_path: Path):
    model = linear_model(safe_weights())
    model.graph.node[-1].CopyFrom(onnx.helper.make_node("Celu", ["scaled"], ["logits"], "logits"))
    assert_one_line_error(run(save(model, tmp_path / "m.onnx")), "kernels_ref", "Celu")


def test_images_need_metadata(good: Path, tmp_path: Path):
    assert_one_line_error(run(good, "--images", tmp_path), "preprocessing")


def test_images_that_are_left_out_are_counted_or_refused(tmp_path: Path):
    size = 8
    how = Preprocessing((3, size, size), (0.5,) * 3, (0.5,) * 3)
    node = onnx.helper.make_node("Relu", ["input"], ["logits"], "relu")
    shape = ["n", 3, size, size]
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in ("input", "logits")]
    graph = onnx.helper.make_graph([node], "relu", ends[:1], ends[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10)
    onnx.helper.set_model_props(model, how.to_metadata())
    path = save(model, tmp_path / "m.onnx")
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(16):
        Image.fromarray(np.full((size, size), 9 * number, np.uint8)).save(photos / f"{number:02d}.png")
    (photos / "05.png").write_bytes(b"no image")
    result = run(path, "--images", photos, "--json", tmp_path / "r.json")
    assert result.stderr.startswith(f"warning: left out 1 of 16 images of {photos} (05.png: "), result.output
    content = json.loads((tmp_path / "r.json").read_text())
    assert (content["skipped"], content["inputs"]) == (1, {"images": 15})
    assert content["warnings"] == [result.stderr.removeprefix("warning: ").strip()]
    (photos / "06.png").write_bytes(b"no image")
    assert_one_line_error(run(path, "--images", photos), "2 of 16 images", "more than a tenth", "--allow-skipped")
    assert "left out 2 of 16" in run(path, "--images", photos, "--allow-skipped").stderr


def test_wrong_command_lines(good: Path, tmp_path: Path):
    assert_one_line_error(run(), "MODEL", "--help")
    assert_one_line_error(run(good, "--images", tmp_path, "--random", 3), "exclude each other")
    assert_one_line_error(run(good, "--limit", 3), "--limit goes with --images")
    assert_one_line_error(run(good, "--allow-skipped"), "--allow-skipped goes with --images")
    assert_one_line_error(run(good, "--threads", 0), "--threads")
    assert_one_line_error(run(good, "--json", good / "r.json"), "is a file, not a folder")


def test_the_folder_of_the_report_is_made(good: Path, tmp_path: Path):
    assert run(good, "--random", 1, "--json", tmp_path / "none" / "r.json").exit_code == 0
    assert json.loads((tmp_path / "none" / "r.json").read_text())["verdict"] == "exact"


def command(function: object) -> MptqCommand:
    return click.command(cls=MptqCommand)(function)  # type: ignore[arg-type]


def test_errors_become_one_line():
    @command
    def failing() -> None:
        raise MptqError("first\n  second")

    result = CliRunner().invoke(failing, [])
    assert (result.exit_code, result.stderr) == (2, "error: first second\n")


def test_a_bug_keeps_its_traceback():
    @command
    def buggy() -> None:
        raise ZeroDivisionError

    assert isinstance(CliRunner().invoke(buggy, []).exception, ZeroDivisionError)


def test_library_warnings_are_silent_and_our_own_are_not():
    @command
    def noisy() -> None:
        warnings.warn("from a library", stacklevel=1)
        logging.getLogger("library").warning("from a library")
        warn("from\nus")

    result = CliRunner().invoke(noisy, [])
    assert (result.exit_code, result.output) == (0, "warning: from us\n")
    assert logging.root.manager.disable == logging.NOTSET


def test_interruption():
    @command
    def interrupted() -> None:
        raise KeyboardInterrupt

    assert CliRunner().invoke(interrupted, []).exit_code == 130


def test_progress_is_quiet_without_a_terminal(capsys: pytest.CaptureFixture[str]):
    assert list(tracked(np.arange(3), Terminal(), "working", 3)) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")

"""Kits of portable files: a device may miss the golden outputs by as much as was measured, not by more."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from click.testing import CliRunner
from onnx import numpy_helper

from mptq_export.cli.export import main
from mptq_export.kit.portable.golden import SEEDS
from mptq_export.kit.portable.limits import Apart, Spread, Tolerance
from mptq_export.kit.portable.nudged import NUDGE, nudged
from mptq_export.kit.portable.tolerance import FACTOR, apart, tolerance
from mptq_export.kit.write import PORTABLE_RUNNERS, write_kit
from mptq_export.support.errors import MptqError

from .conftest import DIGITS
from .helpers import call

SOC = "SM8650"


def export(folder: Path, target: str, *options: object) -> Path:
    """A folder with `m.onnx` for a target and its kit `kit`."""
    command = [DIGITS / "digits_vit.pt", "--calib", DIGITS / "calib", "--count", 8, "--method", "paper"]
    command += ["--target", target, "-o", folder / "m.onnx", "--kit", folder / "kit", *options]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    result = CliRunner().invoke(main, [str(word) for word in command])
    torch.set_num_threads(threads)
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(scope="module")
def for_qnn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export for HTP; with a context binary where that can be made."""
    try:
        import onnxruntime_qnn  # noqa: F401
    except ImportError:
        return export(tmp_path_factory.mktemp("qnn"), "qnn")
    return export(tmp_path_factory.mktemp("qnn"), "qnn", "--context", SOC)


@pytest.fixture(scope="module")
def for_openvino(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(tmp_path_factory.mktemp("openvino"), "openvino", "--input", "uint8")


@pytest.fixture
def device(for_qnn: Path, tmp_path: Path) -> Path:
    """A copy of the kit that a test may damage; it lies alone, as on a device."""
    return Path(shutil.copytree(for_qnn / "kit", tmp_path / "device"))


def manifest_of(kit: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((kit / "manifest.json").read_text())
    return content


def change_model(kit: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    model = onnx.load(kit / "model.onnx")
    change(model)
    onnx.save(model, kit / "model.onnx")


def test_every_file_is_listed_and_the_table_says_the_same(for_qnn: Path) -> None:
    kit = for_qnn / "kit"
    manifest = manifest_of(kit)
    listed = {entry["file"] for entry in manifest["files"]}
    found = {str(path.relative_to(kit)) for path in kit.rglob("*") if path.is_file()}
    assert found == listed | set(PORTABLE_RUNNERS) | {"manifest.json", "manifest.tsv"}
    rows = [line.split("\t") for line in (kit / "manifest.tsv").read_text().splitlines()]
    context = manifest["context"]
    prepared = [context["file"], str(context["soc"]["number"])] if context else ["-", "-"]
    assert rows[0] == ["kit", "1", "4", "model.onnx", *prepared]
    (output,), (row,) = manifest["outputs"], [row for row in rows if row[0] == "output"]
    assert row[1:4] == ["logits", "float32", "1,10"]
    assert [float(text) for text in row[6:]] == [output["tolerance"][key] for key in ("rms", "kl", "lead")]


def test_golden_outputs_are_what_the_file_says(for_qnn: Path) -> None:
    kit = for_qnn / "kit"
    manifest = manifest_of(kit)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(kit / "model.onnx", options, providers=["CPUExecutionProvider"])
    inputs = np.fromfile(kit / manifest["input"]["file"], "<f4").reshape(-1, *manifest["input"]["shape"])
    golden = np.fromfile(kit / manifest["outputs"][0]["file"], "<f4").reshape(-1, 1, 10)
    assert len(inputs) == len(golden) == 4
    for array, expected in zip(inputs, golden, strict=True):
        assert np.array_equal(session.run(None, {manifest["input"]["name"]: array})[0], expected)


def test_onnxruntime_passes(device: Path) -> None:
    result = call(sys.executable, device / "run.py", "--runs", 1)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("within the tolerance") == 4
    assert result.stdout.splitlines()[-1] == "PASS"


def test_a_model_that_computes_something_else_fails(device: Path) -> None:
    def scale_the_softmax(model: onnx.ModelProto) -> None:
        """As a runtime that takes the codes of a softmax for signed ones: half of the range."""
        softmax = next(node.output[0] for node in model.graph.node if node.op_type == "Softmax")
        quantize = next(node for node in model.graph.node if softmax in node.input)
        step = next(tensor for tensor in model.graph.initializer if tensor.name == quantize.input[1])
        step.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(step) / np.float32(8), step.name))

    change_model(device, scale_the_softmax)
    result = call(sys.executable, device / "run.py", "--runs", 1)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "BEYOND the tolerance" in result.stdout
    assert "model.onnx: not the file that the kit was written with" in result.stdout
    assert result.stdout.splitlines()[-1] == "FAIL"


def test_what_is_missing_is_one_line(device: Path) -> None:
    (device / "golden" / "00-input.bin").unlink()
    for runner in ("run.py", "run_qnn.py", "run_openvino.py"):
        result = call(sys.executable, device / runner)
        if "ModuleNotFoundError" in result.stderr:
            continue
        assert result.returncode == 2, result.stdout + result.stderr
        assert result.stderr.startswith("error: ")
        assert result.stderr.count("\n") == 1


def test_a_provider_that_is_not_there_is_named(device: Path) -> None:
    result = call(sys.executable, device / "run.py", "--provider", "NoneExecutionProvider")
    assert result.returncode == 2
    assert "it has " in result.stderr


@pytest.mark.parametrize("options", [(), ("--context",)])
def test_htp_passes_whole(device: Path, options: tuple[str, ...]) -> None:
    pytest.importorskip("onnxruntime_qnn", reason="Qualcomm's simulator is not installed")
    result = call(sys.executable, device / "run_qnn.py", "--runs", 0, *options)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.splitlines()[-2:] == ["whole: no node is left to the CPU", "PASS"]


def test_htp_in_cpp_passes(device: Path, tmp_path: Path) -> None:
    qnn = pytest.importorskip("onnxruntime_qnn", reason="Qualcomm's simulator is not installed")
    headers = Path(os.environ.get("MPTQ_ORT_INCLUDE", "/usr/include/onnxruntime"))
    libraries = sorted((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*"))
    api = headers / "onnxruntime_cxx_api.h"
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None or not libraries:
        pytest.skip("there is no C++ compiler, or no libonnxruntime.so in the package of Python")
    if not api.is_file() or "AppendExecutionProvider_V2" not in api.read_text(errors="replace"):
        pytest.skip(f"no header of onnxruntime 1.22 or newer in {headers} (set MPTQ_ORT_INCLUDE)")
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (tmp_path / name).symlink_to(libraries[-1])
    search = ["-I", headers, "-L", tmp_path, "-lonnxruntime", f"-Wl,-rpath,{tmp_path}"]
    program = tmp_path / "run_qnn"
    built = call(compiler, "-std=c++17", "-Wall", "-Wextra", device / "run_qnn.cpp", *search, "-o", program)
    assert built.returncode == 0, built.stderr
    plugin = ("--library", qnn.get_library_path(), "--backend", qnn.get_qnn_htp_path(), "--runs", 0)
    for options in ((), ("--context",)):
        result = call(program, "--kit", device, *plugin, *options)
        assert result.returncode == 0, result.stdout + result.stderr
        assert result.stdout.count("within the tolerance") == 4
        assert result.stdout.splitlines()[-1] == "PASS"
    missing = call(program, "--kit", tmp_path / "none", *plugin)
    assert missing.returncode == 2
    assert missing.stderr.startswith("error: cannot read")


@pytest.mark.parametrize("precision", [(), ("--precision", "f32")])
def test_openvino_passes(for_openvino: Path, precision: tuple[str, ...]) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    result = call(sys.executable, for_openvino / "kit" / "run_openvino.py", "--runs", 1, *precision)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.splitlines()[-1] == "PASS"


def test_noise_reaches_every_code_and_stays_below_its_limit(for_qnn: Path) -> None:
    model = onnx.load(for_qnn / "m.onnx")
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    shaken = nudged(model, 1)
    noises = {node.output[0]: node for node in shaken.graph.node if node.op_type == "RandomUniformLike"}
    rounded = [node for node in shaken.graph.node if node.op_type == "QuantizeLinear"]
    assert len(noises) == len(rounded) == sum(node.op_type == "QuantizeLinear" for node in model.graph.node)
    sums = {node.output[0]: node.input[1] for node in shaken.graph.node if node.op_type == "Add"}
    widths = set()
    for node in rounded:
        attributes = {each.name: each.f for each in noises[sums[node.input[0]]].attribute}
        width = 8 * constants[node.input[2]].dtype.itemsize
        widths.add(width)
        assert attributes["high"] == pytest.approx(NUDGE[width] * float(constants[node.input[1]]), rel=1e-5)
        assert attributes["low"] == -attributes["high"]
    assert widths == {8, 16}
    assert nudged(model, 1) == shaken
    assert nudged(model, 2) != shaken
    assert len(set(SEEDS)) == len(SEEDS)


def test_the_tolerance_follows_from_the_larger_spread() -> None:
    spread = Spread(Apart(0.1, 0.01), Apart(0.3, 0.02))
    assert tolerance(spread, None) == Tolerance(FACTOR * 0.3, max(FACTOR**2 * 0.02, 0.18), 4 * FACTOR * 0.3)
    assert tolerance(spread, 5.0).rms == 5.0
    assert tolerance(Spread(Apart(0.1, None), Apart(0.0, None)), None) == Tolerance(FACTOR * 0.1, None, None)


def test_a_constant_on_all_logits_is_no_difference() -> None:
    logits = np.array([[1.0, 2.0, 4.0]], np.float32)
    assert apart("logits", logits, logits + 1).rms == pytest.approx(0, abs=1e-6)
    assert apart("embedding", logits, logits + 1) == Apart(1.0, None)


def test_a_kit_of_either_form_replaces_the_other(for_qnn: Path, exported: Path, tmp_path: Path) -> None:
    inputs = [np.zeros((1, 3, 32, 32), np.float32)]
    write_kit(for_qnn / "m.onnx", inputs, tmp_path / "kit")
    write_kit(exported / "digits.onnx", inputs, tmp_path / "kit", force=True)
    assert manifest_of(tmp_path / "kit")["kind"] == "mptq-export verification kit"
    write_kit(for_qnn / "m.onnx", inputs, tmp_path / "kit", force=True)
    assert manifest_of(tmp_path / "kit")["kind"] == "mptq-export portable kit"


def test_an_exact_file_has_no_context(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(MptqError, match="it is of the exact form; export it with --target qnn"):
        write_kit(exported / "digits.onnx", [np.zeros((1, 3, 32, 32), np.float32)], tmp_path / "kit", context=SOC)
    assert not (tmp_path / "kit").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--context", SOC), "goes with --kit DIR"),
        (("--context", SOC, "--kit", "k"), "it goes with --target qnn, not ort"),
        (("--context", SOC, "--kit", "k", "--target", "openvino"), "it goes with --target qnn, not openvino"),
        (("--context", "SM1", "--kit", "k", "--target", "qnn"), "the SoC SM1 is not known; name one of SM8350"),
    ],
)
def test_a_context_that_cannot_be_is_refused_before_any_work(
    options: tuple[str, ...], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["m.pt", *options])
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []

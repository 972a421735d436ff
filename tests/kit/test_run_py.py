"""The Python runner, as a subprocess: it passes, it names the right tensor, it says what is wrong with a kit."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .helpers import WEIGHTS, call, first_named


def test_it_needs_nothing_of_this_project(kit: Path) -> None:
    imported = [line for line in (kit / "run.py").read_text().splitlines() if line.startswith(("import ", "from "))]
    assert not any("mptq" in line or "kernels_ref" in line or "onnx\n" in line for line in imported)


@pytest.mark.parametrize("options", [(), ("--threads", 2, "--runs", 1), ("--outputs-only",)])
def test_it_passes(kit: Path, options: tuple[object, ...]) -> None:
    result = call(sys.executable, kit / "run.py", *options)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.splitlines()[-1] == "PASS"
    assert "latency: median" in result.stdout
    assert ("inner tensors equal" in result.stdout) == ("--outputs-only" not in options)


@pytest.mark.parametrize("weight", WEIGHTS)
def test_it_names_the_tensor_behind_an_altered_weight(alter: Callable[[str], Path], weight: str) -> None:
    kit = alter(weight)
    result = call(sys.executable, kit / "run.py")
    assert result.returncode == 1, result.stdout + result.stderr
    assert result.stdout.splitlines()[-1] == "FAIL"
    assert "model.onnx: not the file that the kit was written with" in result.stdout
    (first,) = first_named(result.stdout)
    assert first.startswith(WEIGHTS[weight])


def test_an_altered_golden_file_fails(kit: Path) -> None:
    path = next((kit / "golden").glob("*logits.bin"))
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    result = call(sys.executable, kit / "run.py")
    assert result.returncode == 1
    assert f"golden/{path.name}: not the file" in result.stdout


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json", "golden/00-input.bin"])
def test_a_missing_file_is_one_line(kit: Path, name: str) -> None:
    (kit / name).unlink()
    result = call(sys.executable, kit / "run.py")
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


def test_a_broken_model_is_one_line(kit: Path) -> None:
    (kit / "model.onnx").write_bytes(b"not a model")
    result = call(sys.executable, kit / "run.py")
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith("error: onnxruntime cannot run the model")

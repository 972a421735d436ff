"""The C++ runner, against onnxruntime's headers and the library of the Python package."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import onnxruntime
import pytest

from .helpers import WEIGHTS, call, first_named

WEIGHT = "blocks.1.mlp.fc2.weight"


@pytest.fixture(scope="module")
def program(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled runner; skipped where there is no compiler, header or library."""
    headers = Path(os.environ.get("MPTQ_ORT_INCLUDE", "/usr/include/onnxruntime"))
    libraries = sorted((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*"))
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("there is no C++ compiler")
    if not (headers / "onnxruntime_cxx_api.h").is_file():
        pytest.skip(f"onnxruntime_cxx_api.h is not in {headers} (set MPTQ_ORT_INCLUDE; Debian 13: libonnxruntime-dev)")
    if not libraries:
        pytest.skip("the onnxruntime package of Python has no libonnxruntime.so here")
    folder = tmp_path_factory.mktemp("cpp")
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (folder / name).symlink_to(libraries[-1])
    search = ["-I", headers, "-L", folder, "-lonnxruntime", f"-Wl,-rpath,{folder}"]
    built = call(
        compiler, "-std=c++17", "-Wall", "-Wextra", exported / "kit" / "run.cpp", *search, "-o", folder / "run"
    )
    assert built.returncode == 0, built.stderr
    return folder / "run"


def test_it_passes(program: Path, kit: Path) -> None:
    result = call(program, "--kit", kit, "--threads", 1, "--runs", 2)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.splitlines()[-1] == "PASS"
    assert "inner tensors equal" in result.stdout


def test_it_names_the_tensor_behind_an_altered_weight(program: Path, alter: Callable[[str], Path]) -> None:
    result = call(program, "--kit", alter(WEIGHT), "--runs", 2)
    assert result.returncode == 1, result.stdout + result.stderr
    (first,) = first_named(result.stdout)
    assert first.startswith(WEIGHTS[WEIGHT])


def test_a_missing_kit_is_one_line(program: Path, tmp_path: Path) -> None:
    result = call(program, "--kit", tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith("error: cannot read")
    assert result.stderr.count("\n") == 1

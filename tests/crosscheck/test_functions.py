"""functions.py measures the installed onnxruntime, and holds it to what exports assume."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mptq_export.capture.activations import FUNCTIONS
from mptq_export.quantize.certification.assumption import assumed
from tools.crosscheck import functions

REPO = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", functions.FUNCTIONS)
def test_the_assumption_is_that_of_exports(name: str) -> None:
    assert functions.ASSUMED.get(name, functions.OTHERS) == assumed(name)


@pytest.mark.parametrize("name", [name for name in functions.FUNCTIONS if name not in ("exp", "erf")])
def test_the_true_functions_are_those_of_exports(name: str) -> None:
    x = np.linspace(-12, 12, 4001)
    found, expected = functions.FUNCTIONS[name](x), FUNCTIONS[name].exact(x)
    assert np.abs(found - expected).max() < 1e-14


@pytest.mark.parametrize("name", functions.FUNCTIONS)
def test_onnxruntime_here_uses_a_quarter_of_the_assumption_at_most(name: str) -> None:
    x = np.concatenate(list(functions.runs(functions.arguments(name))))
    row = functions.deviation(name, x, functions.here(name, 1))
    assert row["values"] > 200_000
    assert 0 < row["share"] <= 1 / functions.SPARE


def test_a_deviation_is_measured_against_result_and_argument() -> None:
    x = np.array([-4.0, 1.0], np.float32)
    true = functions.FUNCTIONS["tanh"](x.astype(np.float64))
    wrong = (true + np.array([0, 2.0**-18])).astype(np.float32)
    row = functions.deviation("tanh", x, wrong)
    assert row["at"] == 1
    assert row["share"] == pytest.approx(4 / (1 + true[1]), rel=0.05)
    assert functions.deviation("tanh", x, np.array([np.nan, 0.76], np.float32))["share"] == np.inf


def test_results_of_another_runtime_are_read_and_a_bad_one_fails(tmp_path: Path) -> None:
    functions.write(tmp_path)
    for name in functions.FUNCTIONS:
        x = np.fromfile(tmp_path / f"{name}.x.bin", np.float32)
        assert len(x) == sum(json.loads((tmp_path / f"{name}.json").read_text()))
        y = functions.FUNCTIONS[name](x.astype(np.float64)).astype(np.float32)
        if name == "silu":
            y[1000] += 1
        y.tofile(tmp_path / f"{name}.y.bin")
    (tmp_path / "runtime.json").write_text('{"runtime": "mine"}')
    command = [sys.executable, "-m", "tools.crosscheck.functions", "--read", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPO)
    assert done.returncode == 1
    assert "1 of 9 functions use more than 1/4 of the assumption" in done.stdout

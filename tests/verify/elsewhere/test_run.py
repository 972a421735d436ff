"""mptq-verify --runtime, with a runtime that is made up here: reports, verdicts, exit status, refusals."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result

from mptq_export.cli.verify import main
from mptq_export.recipe.onnx_contents import CONTENTS_KEY
from mptq_export.runtime.edge import opening
from mptq_export.runtime.edge.opening import RUNTIMES
from mptq_export.runtime.edge.session import EdgeSession, PlacedOps, RefusedFileError
from tests.made_up_runtime import GEMM, MadeUp, put_runtime, write_files
from tests.qdq_graphs import save
from tests.qdq_vit import vit

NORM = PlacedOps("LayerNorm", "HTP", "f32", 3, accelerated=True, integer=False)
MATMUL = PlacedOps("MatMul", "HTP", "f32", 1, accelerated=True, integer=False)
LEFT = PlacedOps("Erf", "CPU", "", 1, accelerated=False, integer=None)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_files(tmp_path_factory.mktemp("elsewhere"))


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[MadeUp]]:
    """Puts the made-up runtime into the table; gives the sessions that were opened."""
    return partial(put_runtime, monkeypatch)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_a_right_result_passes_and_the_report_says_all_of_it(made: Path, there: Any, tmp_path: Path):
    sessions = there()
    report = tmp_path / "report.json"
    float_onnx = made / "float.onnx"
    result = run(
        made / "m.onnx", "--runtime", "qnn", "--images", made / "images", "--float", float_onnx, "--json", report
    )
    assert result.exit_code == 0, result.output
    assert "5 images on the nowhere (made up 1.0)" in result.stdout
    assert "whole: 5 ops" in result.stdout and "all in integers" in result.stdout and "nobody's record" in result.stdout
    content = json.loads(report.read_text())
    assert content["passed"] and content["verdict"] == "right" and content["whole"] and content["in_integers"]
    assert content["runtime"] == "qnn" and content["target"] == "qnn" and content["inputs"] == {"images": 5}
    (output,) = content["outputs"]
    assert output["beside_file"]["agreement"] == 1 and output["beside_float"]["sqnr_db"] > 15
    assert sum(output["codes"]["off_by"].values()) == 50
    assert content["placement"]["ops"][0]["op"] == "FullyConnected"
    assert [session.closed for session in sessions] == [True]


def test_a_wrong_result_fails_and_says_why(made: Path, there: Any):
    there(lambda y: y[:, ::-1])
    result = run(made / "m.onnx", "--runtime", "qnn", "--images", made / "images")
    assert result.exit_code == 1
    assert "WRONG" in result.stdout and "dB from what the file says" in result.stdout


def test_what_is_not_whole_fails(made: Path, there: Any):
    there(ops=(GEMM, LEFT))
    result = run(made / "m.onnx", "--runtime", "qnn")
    assert result.exit_code == 1
    assert "not whole: the CPU computes 1 Erf" in result.stdout and "NOT WHOLE" in result.stdout


def test_matmuls_in_float_are_status_3_and_norms_are_only_named(made: Path, there: Any):
    there(ops=(GEMM, NORM))
    result = run(made / "m.onnx", "--runtime", "qnn", "--random", 2)
    assert result.exit_code == 0 and "in floats: 3 LayerNorm (f32)" in result.stdout
    there(ops=(GEMM, MATMUL))
    result = run(made / "m.onnx", "--runtime", "qnn", "--random", 2)
    assert result.exit_code == 3 and "right, with matmuls in float" in result.stdout


def test_a_file_that_the_runtime_refuses_fails_with_its_words(
    made: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    def refuse(path: Path, _options: object) -> EdgeSession:
        raise RefusedFileError(f"nowhere cannot open {path}: no kernel for Erf")

    row = replace(RUNTIMES["qnn"], open=refuse, package=None)
    monkeypatch.setattr(opening, "RUNTIMES", {**RUNTIMES, "qnn": row})
    result = run(made / "m.onnx", "--runtime", "qnn", "--json", tmp_path / "r.json")
    assert result.exit_code == 1
    assert "REFUSED by qnn" in result.stdout and "no kernel for Erf" in result.stdout
    assert json.loads((tmp_path / "r.json").read_text())["verdict"] == "refused"


def test_a_file_of_the_exact_form_is_refused_before_anything_is_opened(made: Path, there: Any, tmp_path: Path):
    sessions = there()
    model = onnx.load(made / "m.onnx")
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {CONTENTS_KEY: "0" * 64})
    result = run(save(model, tmp_path / "exact.onnx"), "--runtime", "qnn")
    assert result.exit_code == 2 and not sessions
    assert "is of the exact form" in result.stderr and "mptq-export CHECKPOINT --target qnn" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--runtime", "qnn", "--batch", 2), "does not go with --runtime"),
        (("--runtime", "qnn", "--threads", 2), "does not take the option threads; it takes: backend, soc"),
        (("--float", "m.pt"), "--float goes with --runtime"),
        (("--backend", "libQnnHtp.so"), "go with --runtime"),
        (("--runtime", "qnn", "--arch", "vit"), "describe --float, which is missing"),
        (("--runtime", "qnn", "--float", "m.pt"), "a float checkpoint is compared on images"),
        (("--runtime", "qnn", "--runtime-python", "python3"), "does not take the option python"),
        (("--runtime", "qnn", "--float", "none.onnx"), "none.onnx"),
    ],
)
def test_options_that_do_not_fit_are_one_line(made: Path, there: Any, arguments: tuple[object, ...], said: str):
    there()
    result = run(made / "m.onnx", *arguments)
    assert result.exit_code == 2, result.output
    assert said in result.stderr and result.stderr.count("\n") == 1


def test_a_float_file_of_another_model_is_refused(made: Path, there: Any, tmp_path: Path):
    there()
    graph, output = vit()
    graph.add("Slice", output, *(graph.constant(np.array([n])) for n in (0, 5, 1)), name="fewer")
    other = save(graph.model("fewer"), tmp_path / "other.onnx")
    result = run(made / "m.onnx", "--runtime", "qnn", "--float", other)
    assert result.exit_code == 2 and "not the same model" in result.stderr

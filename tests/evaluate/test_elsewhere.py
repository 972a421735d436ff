"""mptq-eval --runtime: the predictor is another runtime's, the rest stays; results are kept as they come."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from mptq_export.cli.eval import main
from mptq_export.evaluate.kept import KeptOutputs
from mptq_export.runtime.edge.session import PlacedOps
from mptq_export.support.errors import MptqError
from tests.made_up_runtime import GEMM, put_runtime, write_files

NORM = PlacedOps("LayerNorm", "HTP", "f32", 3, accelerated=True, integer=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_files(tmp_path_factory.mktemp("elsewhere"))
    (folder / "classes.txt").write_text("\n".join(map(str, range(10))))
    return folder


def run(made: Path, *arguments: object) -> Result:
    fixed = [made / "m.onnx", "--data", made / "images", "--class-map", made / "classes.txt"]
    return CliRunner().invoke(main, [str(argument) for argument in (*fixed, *arguments)])


def test_the_accuracy_is_that_of_the_runtime(made: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    here = run(made, "--json", tmp_path / "here.json")
    assert here.exit_code == 0, here.output
    always = np.eye(10, dtype=np.float32)[[1]]
    sessions = put_runtime(monkeypatch, lambda _y: always)
    there = run(made, "--runtime", "qnn", "--json", tmp_path / "there.json")
    assert there.exit_code == 0, there.output
    assert "on the nowhere (made up 1.0)" in there.stdout
    found, other = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("there", "here"))
    assert found["quantised"]["top1"] == 2 / 5  # two of five images lie in folder 1
    assert found["ran_in"]["device"] == "nowhere" and "ran_in" not in other
    assert [(session.runs, session.closed) for session in sessions] == [(5, True)]


def test_equal_outputs_give_the_same_report(made: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    run(made, "--json", tmp_path / "here.json")
    put_runtime(monkeypatch)
    run(made, "--runtime", "qnn", "--json", tmp_path / "there.json")
    found, other = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("there", "here"))
    del found["ran_in"]
    assert found == other


def test_what_computes_in_floats_is_a_warning(made: Path, monkeypatch: pytest.MonkeyPatch):
    put_runtime(monkeypatch, ops=(GEMM, NORM))
    assert "3 LayerNorm are computed in floats" in run(made, "--runtime", "qnn").stderr


def test_an_interrupted_evaluation_goes_on(made: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    kept = tmp_path / "htp.jsonl"
    sessions = put_runtime(monkeypatch)
    first = run(made, "--runtime", "qnn", "--limit", 3, "--resume", kept)
    assert first.exit_code == 0, first.output
    assert sessions[-1].runs == 3
    kept.write_text(kept.read_text()[:-20])  # the last line is cut
    whole = run(made, "--runtime", "qnn", "--resume", kept, "--json", tmp_path / "resumed.json")
    assert whole.exit_code == 0, whole.output
    assert sessions[-1].runs == 3  # two that are new, and the one that was cut
    run(made, "--runtime", "qnn", "--json", tmp_path / "new.json")
    assert sessions[-1].runs == 5
    resumed, new = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("resumed", "new"))
    for report in (resumed, new):
        del report["ran_in"]
    assert resumed == new


def test_results_of_something_else_are_refused(tmp_path: Path):
    path = tmp_path / "kept.jsonl"
    KeptOutputs.open(path, {"model": "a", "runtime": "qnn 1"}).__exit__(None, None, None)
    with pytest.raises(MptqError, match=r"results of another runtime \(qnn 1, not qnn 2\)"):
        KeptOutputs.open(path, {"model": "a", "runtime": "qnn 2"})
    path.write_text("photographs")
    with pytest.raises(MptqError, match="holds no results of an evaluation"):
        KeptOutputs.open(path, {"model": "a", "runtime": "qnn 1"})
    assert path.read_text() == "photographs"


def test_resume_goes_with_runtime(made: Path, tmp_path: Path):
    result = run(made, "--resume", tmp_path / "kept.jsonl")
    assert result.exit_code == 2 and "--resume goes with --runtime" in result.stderr

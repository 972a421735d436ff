"""One channel for what the user must see: stderr without -v, --json, the report; a replay repeats it."""

import json
from pathlib import Path

import pytest
from PIL import Image
from tiny_models import pixels

from mptq_export.calibrate.request import CalibrationRequest
from mptq_export.export.outputs import Outputs
from mptq_export.export.plan import Uniform
from mptq_export.export.request import ExportRequest
from mptq_export.export.run import export_model
from mptq_export.load.request import ModelRequest
from mptq_export.recipe.store import read_recipe
from mptq_export.report.evidence import read_evidence

from .helpers import KIND, Interrupting, run, save

MODEL = "2 class names are left out: the model has 7 logits"
CALIBRATION = "calibrated on synthetic images"


def told(folder: Path, result: object) -> list[str]:
    """The lines on stderr, which every other place must have too."""
    lines = [line.removeprefix("warning: ") for line in result.stderr.splitlines()]
    assert json.loads((folder / "r.json").read_text())["warnings"] == lines
    assert list(read_evidence(folder / "m.mptq.report.json").warnings) == lines
    page = (folder / "m.mptq.report.html").read_text()
    assert all(line.split(":")[0] in page for line in lines) and "<strong>Warnings</strong>" in page
    return lines


def test_a_warning_stands_in_every_place(work: Path):
    save(work / "m.pt", class_names=["cat", "dog"])
    result = run(work / "m.pt", "--count", 4, "--method", "paper", "--json", work / "r.json")
    assert result.exit_code == 0, (result.output, result.exception)
    model, calibration = told(work, result)
    assert model == MODEL
    assert calibration.startswith(CALIBRATION)
    assert read_recipe(work / "m.mptq.recipe.json").settings.calibration.warnings == (calibration,)
    again = run(
        work / "m.pt", "--recipe", work / "m.mptq.recipe.json", "-o", work / "b.onnx", "--json", work / "b.json"
    )
    assert again.exit_code == 0, (again.output, again.exception)
    assert again.stderr == result.stderr
    assert json.loads((work / "b.json").read_text())["warnings"] == [model, calibration]
    assert (work / "b.onnx").read_bytes() == (work / "m.mptq.onnx").read_bytes()


def test_it_is_told_before_the_long_work(work: Path):
    save(work / "m.pt", class_names=["cat", "dog"])
    request = ExportRequest(
        ModelRequest(str(work / "m.pt")), Uniform(), Outputs(work / "m.onnx"), CalibrationRequest(count=4)
    )
    listener = Interrupting("quantizing")
    with pytest.raises(KeyboardInterrupt):
        export_model(request, listener)
    model, calibration = listener.warned
    assert model == MODEL and calibration.startswith(CALIBRATION)


def test_several_files_of_a_search_warn_once(work: Path):
    result = run(work / "m.pt", "--count", 4, "--mixed", "2.5", "--mixed", "2.2", "--mixed-range", "2-3")
    assert result.exit_code == 0, (result.output, result.exception)
    assert result.stderr.count("warning: ") == 1


def test_a_latency_says_what_fewer_bits_save(work: Path):
    search = ("--mixed", "9s", "--mixed-range", "2-3", "--method", "paper")
    result = run(work / "m.pt", "--count", 4, *search, "--json", work / "r.json")
    assert result.exit_code == 0, (result.output, result.exception)
    latency, _calibration = told(work, result)
    assert latency.startswith("--mixed 9s: fewer bits do not run faster in onnxruntime on a CPU")
    assert "--mixed 12MB" in latency


def test_nothing_to_warn_of_is_no_line(work: Path):
    for number, image in enumerate(pixels(KIND, 16, seed=1).numpy()):
        Image.fromarray(image).save(work / "calib" / "class0" / f"more{number}.png")
    result = run(work / "m.pt", "--calib", work / "calib", "--method", "paper", "--json", work / "r.json")
    assert result.exit_code == 0, (result.output, result.exception)
    assert (result.stderr, json.loads((work / "r.json").read_text())["warnings"]) == ("", [])
    assert "<strong>Warnings</strong>" not in (work / "m.mptq.report.html").read_text()
    assert read_recipe(work / "m.mptq.recipe.json").settings.calibration.warnings == ()

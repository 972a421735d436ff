"""mptq-export below four bits: what it tells besides, and what it says of budgets and ranges that cannot be."""

import json
import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from mptq_export.allocate.budget import Budget
from mptq_export.export.plan import Searched
from mptq_export.export.request import ExportRequest
from mptq_export.support.errors import MptqError

from .helpers import run

NO_RANGE = "is not LO-HI with 2 <= LO < HI <= 8"
NO_BUDGET = "is neither a mean bit-width such as 4.5 or 5/12"


def test_a_file_of_few_bits_tells_how_close_it_is_and_what_was_not_tried(work: Path):
    few = run(work / "m.pt", "--calib", work / "calib", "--bits", "4/3", "--method", "minmax")
    assert few.exit_code == 0, (few.output, few.exception)
    told = json.loads((work / "m.mptq.report.json").read_text())
    agrees, lines = told["agreement"], {line[:12].strip(): line[13:] for line in few.stdout.splitlines()}
    stored = re.fullmatch(r"weights ([\d.]+) MB, ([\d.]+) bits each; all else ([\d.]+) MB", lines["stored"])
    assert stored is not None
    assert float(stored[1]) + float(stored[3]) == pytest.approx((work / "m.mptq.onnx").stat().st_size / 1e6, abs=0.01)
    assert 4 < float(stored[2]) < 8  # with the nodes that unpack them
    assert lines["closeness"].startswith(f"{agrees['same']} of 6 images get the float model's class, mean KL ")
    assert lines["closeness"].endswith(
        "6 of them were calibrated on, so that others fare worse: measure with mptq-eval"
    )
    worst = re.findall(r"(\S+) (-?[\d.]+) dB", lines["farthest"])
    assert len(worst) == 3
    assert [float(decibels) for _, decibels in worst] == sorted(float(decibels) for _, decibels in worst)
    assert {name for name, _ in worst} <= set(told["errors"])
    wider = "activations of 8 bits cost no bytes and no time in onnxruntime: --bits 4/8"
    assert all(option in lines["more"] for option in (wider, "--method best", "--mixed", "--reconstruct"))

    again = run(work / "m.pt", "--recipe", work / "m.mptq.recipe.json", "-o", work / "again.onnx")
    assert again.exit_code == 0, (again.output, again.exception)
    assert (work / "again.onnx").read_bytes() == (work / "m.mptq.onnx").read_bytes()
    assert "closeness" in again.stdout and "--reconstruct" not in again.stdout  # nothing is to be chosen


def test_more_images_are_advised_where_there_are_more(work: Path):
    advice = "--count 6 calibrates on more of the 6 images, 3 so far, which may pay at so few bits"
    for count, bits, advised in (("3", "3", True), ("6", "3", False), ("3", "4", False)):
        told = run(work / "m.pt", "--calib", work / "calib", "--count", count, "--bits", bits, "--force")
        assert told.exit_code == 0, (told.output, told.exception)
        assert (advice in told.stdout) == advised
        assert ("--count" in told.stdout) == advised


@pytest.mark.parametrize("text", ["1-8", "8-2", "2-9", "2", "2-2", "2 - 8", "2-8-9", "two-8"])
def test_a_range_that_is_none(work: Path, refused: Callable[..., str], text: str):
    refused(work / "m.pt", "--mixed", "3", "--mixed-range", text, words=(f"--mixed-range {text} {NO_RANGE}",))


@pytest.mark.parametrize("text", ["3/", "/4", "3/4MB", "3/4/5", "-3", "0", "0/4", "3,5"])
def test_a_budget_that_is_none(work: Path, refused: Callable[..., str], text: str):
    refused(work / "m.pt", "--mixed", text, words=(f"--mixed {text} {NO_BUDGET}",))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--mixed", "3/9"), ("--mixed 3/9 is above --mixed-range, which ends at 8",)),
        (("--mixed", "3/1.9", "--mixed-range", "2-8"), ("--mixed 3/1.9 cannot be met", "at least 2.00/2.00")),
        (("--mixed", "3", "--mixed", "3/3"), ("--mixed names a budget twice",)),
        (("--mixed", "3", "--mixed", "3.0"), ("--mixed names a budget twice",)),
        (("--mixed", "3", "--bits", "3/3"), ("--mixed and --bits exclude each other",)),
        (("--mixed-range", "2-8"), ("--mixed-range belongs to --mixed BUDGET, which is missing",)),
        (("--tied",), ("--tied belongs to --mixed BUDGET, which is missing",)),
        (("--bits", "1/4"), ("--bits 1/4 is not W/A with both widths from 2 to 8",)),
        (("--bits", "2.5/4"), ("--bits 2.5/4 is not W/A",)),
    ],
)
def test_what_does_not_go_together(
    work: Path, refused: Callable[..., str], options: tuple[str, ...], words: tuple[str, ...]
):
    line = refused(work / "m.pt", "--calib", work / "calib", *options, words=words)
    assert "lower --mixed-range" not in line  # two bits are the fewest


def test_means_of_weights_and_activations_each_have_a_bound(work: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[ExportRequest] = []

    def seen(request: ExportRequest, *_: object) -> None:
        asked.append(request)
        raise MptqError("seen")

    monkeypatch.setattr(import_module("mptq_export.export.run"), "export_checked", seen)
    options = ("--mixed", "3", "--mixed", "3/4", "--mixed", "2.5/4", "--mixed-range", "2-8", "--reconstruct")
    result = run(work / "m.pt", "--calib", work / "calib", *options)
    assert (result.exit_code, result.stderr) == (2, "error: seen\n")
    plan = asked[0].plan
    assert isinstance(plan, Searched) and plan.reconstruct
    assert plan.search.budgets == (
        Budget("3", "bits", 3.0, 3.0),
        Budget("3/4", "bits", 3.0, 4.0),
        Budget("2.5/4", "bits", 2.5, 4.0),
    )
    assert plan.search.widths.ends == (2, 8)

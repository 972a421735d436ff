"""The verbs of the command line from Python: the same files, byte for byte, and the same refusals."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from cli.helpers import files, run, save
from remembered import Memory

from mptq_export import allocate, calibrate, export, load, open_search, verify
from mptq_export.allocate.evaluator import Evaluator
from mptq_export.api import Calibrated, MptqError, MptqWarning
from mptq_export.recipe.store import read_recipe
from mptq_export.support.progress import Expected

MEASURED = (".report.", ".search.")


def written(folder: Path) -> dict[str, bytes]:
    """Files that do not hold measured times."""
    return {name: content for name, content in files(folder).items() if not any(part in name for part in MEASURED)}


def steps(out: Path) -> list[dict[str, Any]]:
    """The stored trade-off without its measured times."""
    front = json.loads(out.with_suffix(".search.json").read_text())["steps"]
    return [{key: value for key, value in step.items() if key != "latency_ms"} for step in front]


def both(work: Path) -> tuple[Path, Path]:
    """A folder for each way."""
    for name in ("api", "cli"):
        (work / name).mkdir()
    return work / "api" / "m.onnx", work / "cli" / "m.onnx"


def test_from_checkpoint_to_verified_file_as_the_command_line_does_it(work: Path, memory: Memory):
    ours, theirs = both(work)
    (work / "classes.txt").write_text("".join(f"name{i}\n" for i in range(7)))
    calibrated = calibrate(
        load(work / "m.pt"), work / "calib", count=5, exif=True, allow_skipped=True, class_map=work / "classes.txt"
    )
    options: dict[str, Any] = {"bits": (4, 6), "pins": {"head": (8, 8)}, "input_type": "uint8"}
    result = export(calibrated, ours, kit=work / "api" / "kit", **options)
    memory.forget()
    line = ("--bits", "4/6", "--pin", "head=8/8", "--input", "uint8", "--count", 5, "--kit", work / "cli" / "kit")
    data = ("--calib", work / "calib", "--exif", "--allow-skipped", "--class-map", work / "classes.txt")
    assert run(work / "m.pt", *data, *line, "-o", theirs).exit_code == 0
    assert written(ours.parent) == written(theirs.parent)
    assert {"m.report.html", "kit/model.onnx"} <= files(ours.parent).keys()
    assert result.onnx_bytes == ours.stat().st_size
    command, other = (json.loads(out.with_suffix(".report.json").read_text())["command"] for out in (ours, theirs))
    assert command.replace("/api/", "/cli/") == other
    report = verify(ours, work / "calib", count=3, recipe=ours.with_suffix(".recipe.json"))
    assert (report.passed, report.inputs, report.batches) == (True, {"images": 3}, {1: 3, 3: 3})
    assert report.origin is not None and report.origin.weights == len(result.recipe.weights)


def test_a_search_and_its_file(work: Path, memory: Memory):
    ours, theirs = both(work)
    calibrated = calibrate(load(work / "m.pt"), work / "calib")
    (found,) = allocate(calibrated, "3", widths=(2, 4), pins={"head": (4, 4)})
    assert max(found.mean_bits) <= 3
    assert found.divergence > 0
    assert found.front[-1].mean_weight_bits <= 3
    assert found.widths["head"] == (4, 4)
    result = export(found, ours)
    assert read_recipe(ours.with_suffix(".recipe.json")).settings.bits.startswith("mixed 3: mean ")
    assert {name: quant.bits for name, quant in result.recipe.weights.items()} == {
        name: found.widths[name][0] for name in result.recipe.weights
    }
    memory.forget()
    line = ("--mixed", "3", "--mixed-range", "2-4", "--pin", "head=4/4")
    assert run(work / "m.pt", "--calib", work / "calib", *line, "-o", theirs).exit_code == 0
    assert written(ours.parent) == written(theirs.parent)
    assert steps(ours) == steps(theirs)
    stored = json.loads(ours.with_suffix(".search.json").read_text())
    assert stored["steps"] == [asdict(point) for point in found.front]


def test_several_budgets_share_a_search_that_goes_on_from_its_journal(calibrated: Calibrated, tmp_path: Path):
    journal = tmp_path / "search.jsonl"
    found = allocate(calibrated, ["3", "2.5"], widths=(2, 4), journal=journal)
    assert [one.budget for one in found] == ["3", "2.5"]
    assert found[0].search is found[1].search
    again = allocate(calibrated, ["3", "2.5"], widths=(2, 4), journal=journal, resume=True)
    assert [one.widths for one in again] == [one.widths for one in found]
    with pytest.raises(MptqError, match="of an interrupted search"):
        allocate(calibrated, ["3", "2.5"], widths=(2, 4), journal=journal)


def test_a_stored_search_answers_another_budget(
    calibrated: Calibrated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    journal = tmp_path / "search.jsonl"
    (found,) = allocate(calibrated, "2.5", widths=(2, 4), journal=journal)
    (other,) = allocate(calibrated, "2.6", widths=(2, 4))
    monkeypatch.setattr(Evaluator, "__init__", lambda *_: pytest.fail("something was measured"))
    for search in (found.search, open_search(journal)):
        picked = search.pick("2.6", calibrated)
        assert (picked.widths, picked.found) == (other.widths, other.found)
    export(open_search(journal).pick("2.6", calibrated), tmp_path / "m.onnx")
    assert read_recipe(tmp_path / "m.recipe.json").settings.bits.startswith("mixed 2.6: mean ")
    again = open_search(tmp_path / "m.search.json")
    assert again.table() == found.search.table() and again.rungs == found.search.rungs
    few = calibrate(load(calibrated.loaded.asked.name), count=3)
    with pytest.raises(MptqError, match="made on other calibration inputs"):
        again.pick("2.6", few)


def test_a_recipe_is_replayed_on_a_loaded_model(calibrated: Calibrated, tmp_path: Path):
    first, second = tmp_path / "a.onnx", tmp_path / "b.onnx"
    export(calibrated, first, bits=(6, 6))
    export(load(calibrated.loaded.asked.name), second, recipe=tmp_path / "a.recipe.json")
    assert first.read_bytes() == second.read_bytes()


def test_a_file_of_another_recipe_is_not_run(calibrated: Calibrated, tmp_path: Path):
    for name, bits in (("a", (6, 6)), ("b", (5, 5))):
        export(calibrated, tmp_path / f"{name}.onnx", bits=bits)
    report = verify(tmp_path / "a.onnx", recipe=tmp_path / "b.recipe.json")
    assert (report.passed, report.exact, report.samples) == (False, False, 0)
    assert report.origin is not None and report.origin.problems


class Counting:
    """A progress that keeps totals, and how far every bar came."""

    def __init__(self) -> None:
        self.totals: dict[str, float] = {}
        self.done: dict[str, float] = {}

    def expect(self, stages: Sequence[Expected]) -> None:
        self.expected = [stage.label for stage in stages]

    @contextmanager
    def stage(self, label: str, total: float) -> Iterator["Counting"]:
        self.label, self.totals[label], self.done[label] = label, total, 0
        yield self

    def advance(self, amount: float = 1, text: str = "") -> None:
        self.done[self.label] += amount


def test_progress_is_told_to_who_asks(work: Path):
    seen = Counting()
    calibrated = calibrate(load(work / "m.pt"), work / "calib", progress=seen)
    export(calibrated, work / "m.onnx", progress=seen)
    verify(work / "m.onnx", count=2, progress=seen)
    totals = dict(seen.totals)
    assert totals["calibrating"] == 1
    assert totals["verifying"] == 3
    assert seen.done == pytest.approx(totals)
    seen = Counting()
    allocate(calibrated, "3", widths=(2, 4), progress=seen)
    assert seen.done == pytest.approx(seen.totals)
    assert seen.expected == ["searching"] and [*seen.done][-1] == "searching"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bits": (9, 8)}, "bits: .* from 2 to 8"),
        ({"pins": {"head": (4,)}}, "head: .* from 2 to 8"),
        ({"pins": {"haed": (4, 4)}}, "haed matches no layer"),
        ({"method": "worst"}, "method 'worst' is not known; choose one of"),
        ({"input_type": "int8"}, "input_type 'int8' is not known; choose one of float32, uint8"),
        ({"weight_storage": "zip"}, "weight_storage 'zip'"),
        ({"recipe": "r.recipe.json"}, "a recipe goes with a loaded model"),
    ],
)
def test_what_export_refuses(calibrated: Calibrated, tmp_path: Path, options: dict[str, Any], words: str):
    with pytest.raises(MptqError, match=words):
        export(calibrated, tmp_path / "m.onnx", **options)
    assert files(tmp_path) == {}


@pytest.mark.parametrize(
    ("images", "options", "words"),
    [
        ("nope", {}, "--calib nope does not exist"),
        (None, {"count": 0}, "--count 0 is no number of inputs"),
        (None, {"class_map": "nope.txt"}, "nope.txt cannot be read"),
        (None, {"device": "warp9"}, "--device warp9 cannot be used"),
        (None, {"exif": True}, "--exif belongs to --calib"),
    ],
)
def test_what_calibrate_refuses_before_it_looks_at_the_model(
    calibrated: Calibrated, images: str | None, options: dict[str, Any], words: str
):
    unseen = replace(calibrated.loaded, model=torch.nn.Identity())
    with pytest.raises(MptqError, match=words):
        calibrate(unseen, images, **options)


def test_a_loaded_model_is_not_exported_as_it_is(calibrated: Calibrated, tmp_path: Path):
    with pytest.raises(MptqError, match="calibrate it first"):
        export(calibrated.loaded, tmp_path / "m.onnx")
    with pytest.raises(MptqError, match="bits was decided by the recipe"):
        export(calibrated.loaded, tmp_path / "m.onnx", recipe="r.recipe.json", bits=(4, 4))


def test_an_allocation_has_its_widths(calibrated: Calibrated, tmp_path: Path):
    (found,) = allocate(calibrated, "2.5", widths=(2, 3))
    options: list[dict[str, Any]] = [{"bits": (4, 4)}, {"pins": {"head": (4, 4)}}, {"method": "paper"}]
    for option in options:
        with pytest.raises(MptqError, match=f"{next(iter(option))} was decided by the search"):
            export(found, tmp_path / "m.onnx", **option)
    assert files(tmp_path) == {}


@pytest.mark.parametrize(
    ("budgets", "options", "words"),
    [
        ([], {}, "there is no budget"),
        ("four", {}, "four is neither"),
        (["5", "5"], {}, "a budget twice"),
        ("5", {"widths": (8, 3)}, "2 <= LO < HI"),
        ("9", {}, "ends at 8"),
        ("5", {"method": "worst"}, "method 'worst'"),
        ("3.9", {"widths": (4, 5)}, "3.9 cannot be met"),
    ],
)
def test_what_allocate_refuses(calibrated: Calibrated, budgets: Any, options: dict[str, Any], words: str):
    with pytest.raises(MptqError, match=words):
        allocate(calibrated, budgets, **options)


def test_an_existing_file_is_kept(calibrated: Calibrated, tmp_path: Path):
    (tmp_path / "m.recipe.json").write_text("precious")
    with pytest.raises(MptqError, match="exists already"):
        export(calibrated, tmp_path / "m.onnx")
    export(calibrated, tmp_path / "m.onnx", force=True)
    assert (tmp_path / "m.recipe.json").read_text() != "precious"


def test_warnings_reach_who_does_not_look_at_the_result(work: Path):
    save(work / "m.pt", class_names=["cat", "dog"])
    with pytest.warns(MptqWarning, match="2 class names are left out"):
        loaded = load(work / "m.pt")
    with pytest.warns(MptqWarning, match="calibrated on synthetic images") as told:
        result = export(calibrate(loaded, count=4), work / "m.onnx", method="paper")
    assert len([each for each in told if each.category is MptqWarning]) == 1
    assert len(result.warnings) == 2


def test_options_of_the_input_give_the_same_file(work: Path, memory: Memory):
    ours, theirs = both(work)
    loaded = load(work / "m.pt", mean=0.3, std=(0.2, 0.3, 0.2), img_size=32, crop_pct=0.8, interpolation="bilinear")
    export(calibrate(loaded, work / "calib"), ours, method="paper")
    memory.forget()
    line = (
        "--mean",
        "0.3",
        "--std",
        "0.2,0.3,0.2",
        "--img-size",
        "32",
        "--crop-pct",
        "0.8",
        "--interpolation",
        "bilinear",
    )
    assert run(work / "m.pt", "--calib", work / "calib", "--method", "paper", *line, "-o", theirs).exit_code == 0
    assert written(ours.parent) == written(theirs.parent)
    command, other = (json.loads(out.with_suffix(".report.json").read_text())["command"] for out in (ours, theirs))
    assert command.replace("/api/", "/cli/") == other

"""--search FILE --pick BUDGET: another point of a search, without searching, and the bytes that a search gives."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from remembered import Memory
from tiny_models import tiny

from mptq_export.allocate import exact_form, problem
from mptq_export.allocate.evaluator import Evaluator
from mptq_export.allocate.search_terms import SEARCH_VERSION
from mptq_export.allocate.units import Widths
from mptq_export.recipe.store import read_recipe
from mptq_export.report.front import read_front

from .conftest import filled
from .helpers import KIND, files, run, save
from .searches import SUFFIXES, cut_at, mixed

PICKED = ("2.7", "3/2.5", "12%")


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, its images and a finished search; for reading."""
    folder = filled(tmp_path_factory.mktemp("searched"))
    assert mixed(folder, budget=2).exit_code == 0
    return folder


@pytest.fixture(scope="module")
def interrupted(searched: Path) -> Path:
    """The journal of the same search, broken off beyond its first budgets."""
    out = searched / "cut.onnx"
    with pytest.MonkeyPatch.context() as patch:
        cut_at(12, patch)
        assert mixed(searched, "-o", out, budget=2).exit_code != 0
    return out.with_suffix(".search.jsonl")


def pick(folder: Path, search: Path, *budgets: str, more: tuple[object, ...] = ()) -> Result:
    words = [word for budget in budgets for word in ("--pick", budget)]
    return run(folder / "m.pt", "--search", search, *words, *more)


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a search measures or estimates a model with, replaced by what only notes that it was called."""
    called: list[str] = []

    def noting(name: str) -> Callable[..., Any]:
        def note(*_: object, **__: object) -> None:
            called.append(name)
            raise AssertionError(f"{name} was called")

        return note

    monkeypatch.setattr(Evaluator, "__init__", noting("evaluator"))
    monkeypatch.setattr(problem, "sensitivity_table", noting("table"))
    monkeypatch.setattr(problem, "choose_transforms", noting("transforms"))
    monkeypatch.setattr(exact_form, "collect_catalogue", noting("catalogue"))
    monkeypatch.setattr(exact_form, "measure_latency_table", noting("latency"))
    return called


def test_a_pick_measures_nothing_and_gives_the_bytes_of_a_search(
    searched: Path, tmp_path: Path, unmeasured: list[str], memory: Memory
):
    search, before = searched / "m.mptq.search.json", files(searched)
    memory.forget()
    with pytest.MonkeyPatch.context() as patch:  # from anywhere: the search says where its images are
        patch.chdir(tmp_path)
        result = pick(searched, search, *PICKED, more=("-o", tmp_path / "x.onnx"))
    assert result.exit_code == 0, (result.output, result.exception)
    assert not unmeasured
    assert files(searched) == before
    assert (tmp_path / "x.search.json").read_bytes() == search.read_bytes()


def test_each_is_what_a_search_for_that_budget_gives(searched: Path, tmp_path: Path, memory: Memory):
    """One search for each budget, alone, on its own."""
    result = pick(searched, searched / "m.mptq.search.json", *PICKED, more=("-o", tmp_path / "x.onnx"))
    assert result.exit_code == 0, (result.output, result.exception)
    memory.forget()
    for budget in PICKED:
        label = budget.replace("/", "-").replace("%", "pct")
        out = tmp_path / f"searched.{label}.onnx"
        assert mixed(searched, "-o", out, budget=budget).exit_code == 0
        for suffix in SUFFIXES[:3]:
            assert (tmp_path / f"x.{label}.{suffix}").read_bytes() == out.with_suffix(f".{suffix}").read_bytes()
        whole, part = timeless(searched / "m.mptq.search.json"), timeless(out.with_suffix(".search.json"))
        assert whole["problem"] == part["problem"] and whole["terms"] == part["terms"]
        assert whole["rungs"][: len(part["rungs"])] == part["rungs"] and part["rungs"]
        memory.remember()  # one of them all anew: the others differ in what they measure


def timeless(path: Path) -> Any:
    """A stored search without the latencies that each search measures."""
    stored = json.loads(path.read_text())
    stored["problem"]["other_milliseconds"] = None
    for layer in stored["problem"]["layers"].values():
        layer["milliseconds"] = None
    for point in (*stored["steps"], *stored["rungs"]):
        point["latency_ms"] = None
    return stored


def test_it_lies_beside_its_search_and_the_report_lists_the_points(work: Path, searched: Path):
    stored = work / "m.mptq.search.json"
    stored.write_bytes((searched / stored.name).read_bytes())
    command = ("--search", stored, "--pick", "2.7", "--calib", work / "calib")  # the images lie elsewhere now
    result = run(work / "m.pt", *command)
    assert result.exit_code == 0, (result.output, result.exception)
    written = {name for name in files(work) if name.startswith("m.mptq.2.7.")}
    assert written == {f"m.mptq.2.7.{end}" for end in (*SUFFIXES[:3], "report.html", "report.json")}
    found = read_front(work / "m.mptq.2.7.onnx", read_recipe(work / "m.mptq.2.7.recipe.json"))
    assert found is not None and found.name == stored.name
    assert [each.budget for each in found.offered] == ["3.5", "3", "2.5", "2"]
    page = (work / "m.mptq.2.7.report.html").read_text()
    for offered in found.offered:
        assert f"mptq-export MODEL --search {stored.name} --pick {offered.budget}</code>" in page
    line = json.loads((work / "m.mptq.2.7.report.json").read_text())["command"]
    assert f"--search {stored} --pick 2.7 --calib {work / 'calib'} -o" in line
    assert "--mixed" not in line and "--method" not in line


def test_an_interrupted_search_answers_what_it_can(
    interrupted: Path, tmp_path: Path, searched: Path, refused: Callable[..., str], unmeasured: list[str]
):
    out = tmp_path / "x.onnx"
    result = pick(searched, interrupted, "3.6", more=("-o", out))
    assert result.exit_code == 0, (result.output, result.exception)
    assert not unmeasured
    whole = tmp_path / "y.onnx"
    assert pick(searched, searched / "m.mptq.search.json", "3.6", more=("-o", whole)).exit_code == 0
    for suffix in SUFFIXES[:3]:
        assert out.with_suffix(f".{suffix}").read_bytes() == whole.with_suffix(f".{suffix}").read_bytes()
    assert not out.with_suffix(".search.json").exists()
    words = ("--pick 2.2: the search went down to mean widths", "answers budgets down to", "--mixed 2.2 and --resume")
    refused(searched / "m.pt", "--search", interrupted, "--pick", "2.2", words=words)


def test_a_search_goes_on_from_its_file(work: Path, searched: Path, refused: Callable[..., str]):
    """What `--pick` says to type measures the rest alone."""
    measured: list[Widths] = []
    measure = Evaluator.divergences

    def counting(self: Evaluator, widths: Widths) -> list[float]:
        measured.append(widths)
        return measure(self, widths)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Evaluator, "divergences", counting)
        assert mixed(work, budget=3.5).exit_code == 0
        first = len(measured)
        words = ("--pick 2.7: the search went down to", "down to 3.5;", "with --mixed 2.7 and --resume added")
        refused(work / "m.pt", "--search", work / "m.mptq.search.json", "--pick", "2.7", words=words)
        result = mixed(work, "--mixed", "2.7", "--resume", budget=3.5)
        assert result.exit_code == 0, (result.output, result.exception)
    assert first and len(measured) == len({str(widths) for widths in measured})
    assert not (work / "m.mptq.search.jsonl").exists()
    assert (work / "m.mptq.3.5.onnx").read_bytes() == (work / "m.mptq.onnx").read_bytes()
    stored = json.loads((work / "m.mptq.search.json").read_text())
    assert [rung["budget"] for rung in stored["rungs"]] == ["3.5", "3", "2.5"]
    picked = searched / "m.mptq.search.json"
    other = work / "y.onnx"
    assert pick(searched, picked, "2.7", more=("-o", other)).exit_code == 0
    assert (
        other.with_suffix(".recipe.safetensors").read_bytes() == (work / "m.mptq.2.7.recipe.safetensors").read_bytes()
    )


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def stored(work: Path, searched: Path) -> Path:
    """The search in a folder of its own, with the same model and images."""
    path = work / "m.mptq.search.json"
    path.write_bytes((searched / path.name).read_bytes())
    return path


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), ("is asked with --pick BUDGET",)),
        (("--pick", "five"), ("--pick five is neither", "4.5", "12MB")),
        (("--pick", "4.5"), ("--pick 4.5 is above --mixed-range, which ends at 4",)),
        (("--pick", "1.9"), ("--pick 1.9 cannot be met", "2.00/2.00", "raise the budget")),
        (("--pick", "2/1"), ("--pick 2/1 cannot be met", "2.00/2.00")),
        (("--pick", "1kB"), ("--pick 1kB cannot be met", "MB", "raise the budget")),
        (("--pick", "1us"), ("--pick 1us cannot be met", " ms")),
        (("--pick", "3", "--pick", "3.0"), ("--pick names a budget twice",)),
        (("--pick", "3", "--method", "paper"), ("--search", "and --method exclude each other", "--mixed")),
        (("--pick", "3", "--count", "4"), ("and --count exclude each other",)),
        (("--pick", "3", "--tied"), ("and --tied exclude each other",)),
        (("--pick", "3", "--bits", "4/4"), ("and --bits exclude each other",)),
        (("--pick", "3", "--recipe", "x.recipe.json"), ("exclude each other",)),
        (("--pick", "3", "--mixed", "3"), ("exclude each other",)),
        (("--pick", "3", "--resume"), ("--resume goes on with --reconstruct here",)),
        (("--pick", "3", "--target", "qnn"), ("was made for --target ort, not qnn",)),
        (("--pick", "40kB", "--weight-storage", "int8"), ("--pick with a file size", "--weight-storage packed")),
    ],
)
def test_what_is_refused(stored: Path, refused: Callable[..., str], options: tuple[str, ...], words: tuple[str, ...]):
    refused(stored.parent / "m.pt", "--search", stored, *options, words=words)


def test_a_pick_needs_a_search(work: Path, refused: Callable[..., str]):
    for plan in ((), ("--mixed", "3")):
        refused(work / "m.pt", "--calib", work / "calib", *plan, "--pick", "3", words=("--pick", "--search"))


def test_the_search_of_something_else(stored: Path, refused: Callable[..., str]):
    work = stored.parent
    calib = ("--calib", work / "calib")
    words = ("the search was made on other calibration inputs", "--calib")
    refused(work / "m.pt", "--search", stored, "--pick", "3", "--calib", work / "calib" / "class0", words=words)
    state = dict(tiny(KIND).state_dict())
    key = "blocks.1.mlp.fc1.weight"
    other = save(work / "other.pt", state_dict={**state, key: state[key] * 1.01})
    refused(other, "--search", stored, "--pick", "3", *calib, words=("the search is of another checkpoint", "m.pt"))
    content = json.loads(stored.read_text())
    content["terms"]["origin"]["version"] = "0.0.1"
    stored.write_text(json.dumps(content))
    refused(work / "m.pt", "--search", stored, "--pick", "3", *calib, words=("made by version 0.0.1", "search again"))
    content["terms"]["calibration"]["images"] = "gone"
    stored.write_text(json.dumps(content))
    words = ("the search was calibrated on gone, which is not there", "--calib")
    refused(work / "m.pt", "--search", stored, "--pick", "3", words=words)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.search.json", None, ("cannot read --search", ".search.json of a search")),
        ("x.search.json", "no json", ("is no stored search",)),
        ("x.search.json", "[]", ("holds no search that can be asked", "older version")),
        ("x.search.json", '{"search_version": 99}', ("is of another version of this program", "search again")),
        ("x.search.json", f'{{"search_version": {SEARCH_VERSION}}}', ("is damaged", "search again")),
        ("x.search.jsonl", '{"search": "0"}\n', ("holds no search that can be asked", "interrupted before")),
        ("x.search.jsonl", f'{{"stored": {{"search_version": {SEARCH_VERSION}}}}}\n', ("is damaged",)),
    ],
)
def test_what_is_no_search(
    work: Path, refused: Callable[..., str], name: str, content: str | None, words: tuple[str, ...]
):
    path = work / name
    if content is not None:
        path.write_text(content)
    refused(work / "m.pt", "--search", path, "--pick", "3", words=(str(path), *words))

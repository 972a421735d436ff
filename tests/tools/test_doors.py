"""Kinds of files: a few of them here, all of them behind the slow mark, and the page that tells what became of them."""
# ruff: noqa: E402 - what needs other libraries is imported after they were looked for

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

for _library in ("transformers", "peft", "open_clip", "vit_pytorch", "accelerate"):
    pytest.importorskip(_library, reason="kinds are written by the library that writes them")

from tools.doors import check
from tools.doors.__main__ import main
from tools.doors.check import WrongError, check_exports, check_refused, words
from tools.doors.kind import Exports, Kind, Refused, fixed_inputs
from tools.doors.kinds import GROUPS, KINDS
from tools.doors.result import GOOD, Result, append, read_results
from tools.doors.run import missing_libraries, run_kind
from tools.doors.table import cells, markdown, summary

DOCS = Path(__file__).resolve().parents[2] / "docs"
#: One of each way in.
FEW = ("train.py: model_best.pth.tar", "HF folder: ViT, classifier", "package.module:function, four outputs")
FEW_REFUSED = ("TorchScript, traced", "HF folder: text (BERT)", "module: asks for a value (.item())")


def by_name(name: str) -> Kind:
    (found,) = (kind for kind in KINDS if kind.name == name)
    return found


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working folder that a kind is written to, and read from; its packages are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if name.startswith(("doors_models", "mine")):
            del sys.modules[name]


def checked(folder: Path, door: Exports) -> check.Found:
    inputs = fixed_inputs(door.size, door.mean, door.std)
    with torch.no_grad():
        wanted = {name: value.numpy() for name, value in door.outputs(inputs).items()}
    return check_exports(folder, door, inputs, wanted)


@pytest.mark.parametrize("name", FEW)
def test_a_kind_that_people_have_is_read_rightly_and_exact(here: Path, name: str):
    door = by_name(name).build(here)
    assert isinstance(door, Exports)
    found = checked(here, door)
    assert found["status"] == "exports"
    assert found["float_difference"] <= check.SAME
    assert (found["differing"], found["values"] > 0) == (0, True)


@pytest.mark.parametrize("name", FEW_REFUSED)
def test_a_kind_that_cannot_be_read_is_refused_with_the_way_out(here: Path, name: str):
    door = by_name(name).build(here)
    assert isinstance(door, Refused)
    assert check_refused(here, door)["status"] == "refused"


def test_another_model_than_the_original_is_read_wrongly(here: Path):
    door = by_name("state_dict, .pth").build(here)
    assert isinstance(door, Exports)

    def other(x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {name: value + 1e-3 for name, value in door.outputs(x).items()}

    for wrong in (
        replace(door, outputs=other),
        replace(door, mean=(0.5, 0.5, 0.4)),
        replace(door, std=(0.5, 0.4, 0.5)),
    ):
        with pytest.raises(WrongError) as raised:
            checked(here, wrong)
        assert raised.value.found["status"] == "read wrongly"


def test_a_refusal_that_names_no_way_out_is_not_good(here: Path):
    (here / "empty.pt").write_bytes(b"")
    with pytest.raises(WrongError, match="does not say fly"):
        check_refused(here, Refused("empty.pt", ("fly",)))


@pytest.mark.parametrize(
    ("ended", "status"),
    [((0, ""), "not refused"), ((1, "Traceback"), "failed"), ((2, "warning: slow\nerror: no"), "failed")],
)
def test_what_is_not_refused_in_one_line_is_not_good(
    here: Path, monkeypatch: pytest.MonkeyPatch, ended: tuple[int, str], status: str
):
    monkeypatch.setattr(check, "run_command", lambda _arguments: ended)
    with pytest.raises(WrongError) as raised:
        check_refused(here, Refused("model.pt", ()))
    assert raised.value.found["status"] == status


def test_there_are_as_many_kinds_as_people_have():
    names = [kind.name for kind in KINDS]
    assert len(names) == len(set(names)) >= 75
    assert len(KINDS) - len(GROUPS["To be refused"]) >= 62


def test_options_are_words_of_a_command_line():
    given = {"arch": "a", "model_kwargs": {"depth": 2}, "trust": True, "mean": (0.5, 0.4), "img_size": 32}
    wanted = ["--arch", "a", "--model-kwargs", '{"depth": 2}', "--trust", "--mean", "0.5,0.4", "--img-size", "32"]
    assert words(given) == wanted


def test_results_are_kept_as_they_come_and_become_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    results = tmp_path / "doors.jsonl"
    good = Result(KINDS[0].name, "timm", {"timm": "1.0"}, "exports", outputs=["logits"], float_difference=0.0, values=9)
    bad = Result(KINDS[1].name, "timm", {"timm": "1.0"}, "read wrongly", "mean 0.5 | other")
    for row in (replace(good, status="failed"), good, bad):
        append(results, row)
    with results.open("a", encoding="utf-8") as file:
        file.write('{"kind": "cut')
    rows = read_results(results)
    assert list(rows.values()) == [good, bad]
    assert cells(good)[2:] == ("exports", "0.0e+00", "0 of 9")
    page = markdown(GROUPS, rows)
    assert "**read wrongly**: mean 0.5 \\| other" in page
    assert summary([good, bad], 75) == (
        "2 of 75 kinds were tried: 1 export, 1 read wrongly; 1 read wrongly; 0 values differ."
    )
    arguments = ["--results", str(results), "--only", KINDS[0].name, "--only", KINDS[1].name, "--json"]
    assert main([*arguments, str(tmp_path / "all.json"), "--table", str(tmp_path / "doors.md")]) == 1  # nothing anew
    assert (tmp_path / "doors.md").read_text(encoding="utf-8") == page
    assert "2 of 2 kinds were tried" in capsys.readouterr().out


def test_the_page_says_what_the_results_say():
    found = read_results(DOCS / "doors.jsonl")
    assert (DOCS / "doors.md").read_text(encoding="utf-8") == markdown(GROUPS, found)
    assert not [row.kind for row in found.values() if row.status == "read wrongly"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_kind(kind: Kind):
    absent = missing_libraries(kind)
    if absent:
        pytest.skip(f"{' and '.join(absent)} not installed")
    row = run_kind(kind, 900)
    assert row.status in GOOD, row.detail

"""Measuring rows: several at a time, going on where it stopped, with a failure in one row only."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tools.figures.__main__ import main
from tools.figures.bench import Bench, Facts
from tools.figures.commands import CommandError, Commands
from tools.figures.context import Context
from tools.figures.measure import measure
from tools.figures.models import digits
from tools.figures.store import Measured
from tools.figures.table import Document, Figures, Row, Table

CONTEXT = Context("abc1234", "a machine", {"onnxruntime": "1.2"})


def bench(folder: Path) -> Bench:
    return Bench(Commands(frozenset(), folder / "logs"), folder)


def markdown(_document: Document) -> str:
    return ""


def table(name: str, rows: list[Row], *, alone: bool = False) -> Table:
    return Table(name, lambda _models: rows, markdown, alone)


@dataclass
class Calls:
    """A row's measurement that remembers on how many CPUs it ran."""

    cpus: list[int]

    def __call__(self, bench: Bench) -> Figures:
        self.cpus.append(len(bench.commands.cores))
        return {"figure": len(self.cpus)}


def failing(_bench: Bench) -> Figures:
    raise CommandError("no")


def test_rows_that_are_there_are_not_measured_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    calls, measured = Calls([]), Measured(tmp_path / "rows.jsonl")
    wanted = [(table("t", []), Row(key, "digits", calls)) for key in ("a", "b")]
    for expected in (2, 2):
        assert measure(wanted, bench(tmp_path), CONTEXT, measured, jobs=1, threads=1) == 0
        assert len(calls.cpus) == expected
    assert "2 rows, 2 of them are there" in capsys.readouterr().out
    found = measured.of("abc1234")["t", "a"]
    assert found["figures"] == {"figure": 1, "jobs": 1, "threads": 1}
    assert (found["machine"], found["versions"]) == (CONTEXT.machine, CONTEXT.versions)
    other = Context("def5678", "a machine", {})
    assert measure(wanted, bench(tmp_path), other, measured, jobs=1, threads=1) == 0
    assert len(calls.cpus) == 4


def test_a_row_that_fails_is_missing_and_the_others_are_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    calls, measured = Calls([]), Measured(tmp_path / "rows.jsonl")
    wanted = [(table("t", []), Row("bad", "digits", failing)), (table("t", []), Row("good", "digits", calls))]
    assert measure(wanted, bench(tmp_path), CONTEXT, measured, jobs=1, threads=1) == 1
    assert set(measured.of("abc1234")) == {("t", "good")}
    assert "t, bad: no" in capsys.readouterr().err


def test_what_runs_alone_comes_last_and_has_all_cpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: set(range(4)))
    calls = Calls([])
    rows = [(table("alone", [], alone=True), Row("a", "digits", calls))]
    rows += [(table("together", []), Row(key, "digits", calls)) for key in "bcd"]
    assert measure(rows, bench(tmp_path), CONTEXT, Measured(tmp_path / "rows.jsonl"), jobs=2, threads=1) == 0
    assert calls.cpus == [1, 1, 1, 4]
    with pytest.raises(SystemExit, match="3 jobs of 2 threads need more than the 4 CPUs"):
        measure(rows, bench(tmp_path), CONTEXT, Measured(tmp_path / "rows.jsonl"), jobs=3, threads=2)


def test_a_file_is_made_once_for_all_rows(tmp_path: Path):
    made: list[Path] = []

    def make(path: Path) -> Facts:
        made.append(path)
        return {"bytes": 7}

    workers = bench(tmp_path)
    assert [workers.once("model-4-4", make) for _ in range(2)] == [{"bytes": 7}] * 2
    assert made == [tmp_path / "model-4-4.onnx"]


def test_no_command_starts_when_the_time_is_over(tmp_path: Path):
    commands = Commands(frozenset({0}), tmp_path / "logs", deadline=time.monotonic() - 1)
    with pytest.raises(CommandError, match="no time left"):
        Bench(commands, tmp_path).export(digits(), "8/8")
    assert not (tmp_path / "logs").exists()


def test_a_line_that_was_kept_is_read_again(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    Measured(path).add("t", "a", CONTEXT, {"figure": 1})
    Measured(path).add("t", "a", CONTEXT, {"figure": 2})
    assert Measured(path).of("abc1234")["t", "a"]["figures"] == {"figure": 2}
    assert len([json.loads(line) for line in path.read_text().splitlines()]) == 2


def test_a_model_that_is_not_there_is_refused(tmp_path: Path):
    given = ("measure", "--commit", "abc1234", "--out", str(tmp_path), "--minutes", "0", "--only", "exactness")
    with pytest.raises(SystemExit, match="vit_small: no checkpoint"):
        main([*given, "--assets", str(tmp_path), "--model", "vit_small"])


def test_the_command_says_by_its_status_that_rows_are_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    given = ("measure", "--commit", "abc1234", "--out", str(tmp_path), "--minutes", "0", "--model", "digits")
    assert main([*given, "--only", "exactness", "--assets", str(tmp_path)]) == 3
    assert "4 rows are missing" in capsys.readouterr().out

"""Measurements survive an interruption, and only for the search that made them."""

import json
from pathlib import Path

import pytest

from mptq_export.allocate.journal import Journal
from mptq_export.allocate.latency import LatencyTable
from mptq_export.allocate.units import Widths
from mptq_export.support.errors import MptqError

FIRST: Widths = {"a": (8, 8), "b": (8, 8)}
SECOND: Widths = {"a": (8, 7), "b": (8, 8)}
THIRD: Widths = {"a": (8, 8), "b": (7, 8)}


class Counted:
    """A measurement that knows how often it was made."""

    def __init__(self, *value: float) -> None:
        self.value, self.calls = list(value), 0

    def __call__(self) -> list[float]:
        self.calls += 1
        return self.value


def never() -> list[float]:
    raise AssertionError("measured again")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal with two measurements."""
    path = tmp_path / "x.search.jsonl"
    with Journal.open(path, "one", resume=False) as journal:
        assert journal.divergences(FIRST, lambda: [0.1 + 0.2, 1.0]) == [0.1 + 0.2, 1.0]
        assert journal.divergences(SECOND, lambda: [1e-17]) == [1e-17]
    return path


def test_what_is_known_is_not_measured_again(path: Path):
    with Journal.open(path, "one", resume=True) as journal:
        assert journal.divergences(FIRST, never) == [0.1 + 0.2, 1.0]  # to the last bit
        assert journal.divergences(SECOND, never) == [1e-17]
        assert journal.divergences(THIRD, lambda: [3.0]) == [3.0]
        assert journal.divergences(THIRD, never) == [3.0]
    with Journal.open(path, "one", resume=True) as journal:
        assert journal.divergences(THIRD, never) == [3.0]


def test_times_are_measured_once(path: Path):
    measured = LatencyTable({("a", 8): 0.1 + 0.2, ("b", 3): 1.0}, 1e-3)
    with Journal.open(path, "one", resume=True) as journal:
        assert journal.latency(lambda: measured) == measured
    with Journal.open(path, "one", resume=True) as journal:
        assert journal.latency(lambda: LatencyTable({}, 0.0)) == measured
        assert journal.divergences(FIRST, never) == [0.1 + 0.2, 1.0]
    with Journal.open(path, "one", resume=True) as journal:  # what was kept is kept again
        assert journal.latency(lambda: LatencyTable({}, 0.0)) == measured


def test_what_was_searched_is_kept_once(path: Path):
    with Journal.open(path, "one", resume=True) as journal:
        journal.keep({"terms": 1})
    with Journal.open(path, "one", resume=True) as journal:
        journal.keep({"terms": 2})  # what an interrupted search says is what its measurements are of
        assert journal.divergences(FIRST, never) == [0.1 + 0.2, 1.0]
    kept = [line for line in map(json.loads, path.read_text().splitlines()) if "stored" in line]
    assert kept == [{"stored": {"terms": 1}}]


def test_every_measurement_is_on_disk_at_once(path: Path):
    with Journal.open(path, "one", resume=True) as journal:
        journal.divergences(THIRD, lambda: [3.0])
        assert json.loads(path.read_text().splitlines()[-1])["divergences"] == [3.0]


def test_without_resume_it_starts_again(path: Path):
    measure = Counted(5.0)
    with Journal.open(path, "one", resume=False) as journal:
        assert journal.divergences(FIRST, measure) == [5.0]
    assert measure.calls == 1
    assert len(path.read_text().splitlines()) == 2


@pytest.mark.parametrize("lost", [1, 2, 5, 20])
def test_a_cut_last_line_is_measured_again(path: Path, lost: int):
    path.write_bytes(path.read_bytes()[:-lost])
    measure = Counted(1e-17)
    with Journal.open(path, "one", resume=True) as journal:
        assert journal.divergences(FIRST, never) == [0.1 + 0.2, 1.0]
        assert journal.divergences(SECOND, measure) == [1e-17]
        journal.divergences(THIRD, lambda: [3.0])
    assert measure.calls == (lost > 1)  # without its line end a line is still whole
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["divergences"] for line in lines[1:]] == [[0.1 + 0.2, 1.0], [1e-17], [3.0]]


def test_the_journal_of_another_search(path: Path):
    before = path.read_bytes()
    with pytest.raises(MptqError, match="the journal of another search") as raised:
        Journal.open(path, "two", resume=True)
    assert str(path) in str(raised.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"no journal\n",
        b"\x89PNG\xff\xfe\n",
        b"[1, 2]\n",
        b'{"search": "one"}\n[1, 2]\n',
        b'{"search": "one"}\n{}\n',
    ],
)
def test_what_is_no_journal(tmp_path: Path, content: bytes):
    path = tmp_path / "x.search.jsonl"
    path.write_bytes(content)
    with pytest.raises(MptqError, match="start again without --resume") as raised:
        Journal.open(path, "one", resume=True)
    assert str(path) in str(raised.value)
    assert path.read_bytes() == content


def test_a_journal_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(MptqError, match="cannot use the journal"):
        Journal.open(tmp_path / "file" / "x.jsonl", "one", resume=False)
    with pytest.raises(MptqError, match="cannot use the journal"):
        Journal.open(tmp_path / "missing.jsonl", "one", resume=True)

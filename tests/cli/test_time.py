"""Time is shown from the first second to the last: one bar or a line a stage, an end that tells, and how to go on."""

import io
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from rich.console import Console

import mptq_export.cli.terminal as shown
from mptq_export.calibrate.request import CalibrationRequest
from mptq_export.cli.common import MptqCommand
from mptq_export.cli.export import GROUPS, main
from mptq_export.cli.terminal import Terminal
from mptq_export.export.expected import ExportWork
from mptq_export.export.outputs import Outputs
from mptq_export.export.plan import Replayed, Uniform
from mptq_export.export.request import ExportRequest
from mptq_export.export.run import export_model
from mptq_export.load.request import ModelRequest
from mptq_export.support.progress import STARTING, Expected, Silent
from mptq_export.support.time_left import TimeLeft

from .helpers import FEW, STAGE_LINE, run, searching

LINE = re.compile(STAGE_LINE)


class Planned(Silent):
    """Notes which stages run, whether they were expected, and how far their bars came."""

    def __init__(self, first: Sequence[Expected]) -> None:
        self.time = TimeLeft()
        self.time.expect(first)
        self.ran: list[str] = []
        self.unexpected: list[str] = []
        self.shares: dict[str, float] = {}

    def expect(self, stages: Sequence[Expected]) -> None:
        self.time.expect(stages)

    @contextmanager
    def stage(self, label: str, total: float) -> Iterator["Planned"]:
        assert not self.time.running, f"{label} begins within {self.time.label}"
        if label not in (stage.label for stage in self.time._coming):
            self.unexpected.append(label)
        self.time.begin(label, total)
        self.label, self.total, self.done = label, total, 0.0
        yield self
        self.time.end()
        self.ran.append(label)
        self.shares[label] = self.done / total

    def advance(self, amount: float = 1, text: str = "") -> None:
        self.time.advance(amount)
        self.done += amount


@pytest.mark.parametrize("plan", ["uniform", "searched", "replayed"])
def test_every_stage_is_expected_and_every_bar_ends(work: Path, plan: str):
    """A stage that nobody expects, or that does not come, makes the time left a guess."""
    calibration = CalibrationRequest(work / "calib", 6)
    request = searching(work / "m.pt", work / "m.onnx", ("3",), images=work / "calib", count=6)
    if plan != "searched":
        model = ModelRequest(str(work / "m.pt"))
        request = ExportRequest(model, Uniform((4, 4)), Outputs(work / "m.onnx"), calibration)
    if plan == "replayed":
        export_model(request)
        request = ExportRequest(model, Replayed(work / "m.recipe.json"), Outputs(work / "again.onnx"), calibration)
    stages = [stage.label for stage in ExportWork.guess(request).stages()]
    seen = Planned(ExportWork.guess(request).stages())
    export_model(request, seen)
    assert seen.unexpected == []
    assert list(dict.fromkeys(stages)) == [STARTING, *dict.fromkeys(seen.ran)]
    assert seen.time.left is None  # nothing is waited for any more
    assert seen.shares == pytest.approx(dict.fromkeys(seen.shares, 1.0))
    long = {"uniform": "quantizing", "searched": "searching", "replayed": "checking"}
    assert {"checking", long[plan]} <= seen.shares.keys()


def test_without_a_terminal_every_stage_leaves_a_line(work: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mptq_export.cli.export.STAGES", True)
    result = run(work / "m.pt", "--calib", work / "calib", "--count", 6, "--bits", "5")
    lines = result.stderr.splitlines()
    stages = [line for line in lines if LINE.fullmatch(line)]
    assert [line for line in lines if line not in stages] == [FEW.strip()]
    labels = [line.partition(":")[0] for line in stages]
    assert labels[0] == STARTING and labels[-1] == "writing the report" and "quantizing" in labels
    rows = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert rows["bits"].startswith("5/5 ")
    assert rows["closeness"].startswith(
        tuple(f"{n} of 6 images get the float model's class, mean KL " for n in range(7))
    )
    assert LINE.match("all: " + rows["time"]) and ", checking " in rows["time"]
    onnx = work / "m.mptq.onnx"
    assert rows["next"] == f"mptq-verify {onnx} --recipe {work / 'm.mptq.recipe.json'}"
    assert rows["then"] == f"mptq-eval {onnx} --data FOLDER --float {work / 'm.pt'}"
    assert [*rows][-3:] == ["time", "next", "then"]


@click.command(cls=MptqCommand)
def worker() -> None:
    """Two stages, one of which was expected, and a warning in between."""
    with Terminal() as terminal:
        terminal.expect([Expected("first", 10.0), Expected("second", 30.0)])
        with terminal.stage("first", 2) as bar:
            bar.advance(1, "[layer]")
            terminal.warn(["[seen] once", "[seen] once"])
            with terminal.stage("inner", 5) as inner:
                inner.advance(3, "inside")
            picture = terminal._picture()
    screen = io.StringIO()
    Console(file=screen, width=100).print(picture)
    click.echo(screen.getvalue())


def test_a_terminal_shows_one_bar(monkeypatch: pytest.MonkeyPatch):
    screen = io.StringIO()
    monkeypatch.setattr(shown, "Console", lambda **_: Console(file=screen, force_terminal=True, width=100))
    result = CliRunner().invoke(worker, [])
    assert result.exit_code == 0, result.exception
    bar, text = result.stdout.splitlines()[:2]
    assert re.fullmatch(r"first +(\S+ +)?\d+% \d\.\d s so far, about \d+ s left", bar.strip())
    assert text.strip() == "inside"
    assert screen.getvalue().count("warning: [seen] once") == 1
    assert result.stderr == ""
    quiet = CliRunner().invoke(worker, ["-q"])
    assert quiet.exit_code == 0 and screen.getvalue().count("warning") == 1


@pytest.mark.parametrize("kept", [True, False])
def test_an_interruption_says_how_to_go_on(work: Path, monkeypatch: pytest.MonkeyPatch, kept: bool):
    def interrupted(request: ExportRequest, progress: Terminal) -> None:
        with progress.stage("searching", 1):
            if kept:
                request.outputs.journal.touch()
            raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules[export_model.__module__], "export_checked", interrupted)
    words = ["m.pt", "--calib", "calib", "--mixed", "3", "-o", "a file.onnx"]
    monkeypatch.setattr(sys, "argv", ["mptq-export", *words])
    monkeypatch.chdir(work)
    result = run(*words)
    assert result.exit_code == 130 and result.stdout == ""
    told = result.stderr.splitlines()[-1]
    assert re.match(r"interrupted after \d\.\d s, in: searching; ", told)
    if kept:
        again = "mptq-export m.pt --calib calib --mixed 3 -o 'a file.onnx' --resume"
        assert told.endswith(f"what was done is kept in a file.search.jsonl, go on with: {again}")
    else:
        assert told.endswith("nothing is kept, start again")


def test_help_shows_every_option_once_under_its_heading():
    text = CliRunner().invoke(main, ["--help"]).stdout
    options = [each for each in main.params if isinstance(each, click.Option)]
    grouped = [name for names in GROUPS.values() for name in names]
    assert len(grouped) == len(set(grouped)) and set(grouped) <= {str(each.name) for each in options}
    headings = [f"\n{heading}:\n" for heading in (*GROUPS, "Others", "Examples")]
    assert sorted(map(text.index, headings)) == list(map(text.index, headings))
    for each in options:
        assert len(re.findall(rf"^  (?:-\w, )?{each.opts[-1]}\b(?!-)", text, re.MULTILINE)) == 1, each.opts
    others = text[text.index("\nOthers:") :]
    assert {str(each.name) for each in options if f"  {each.opts[-1]}" in others} <= {
        "quiet",
        "verbose",
        "help",
        "version",
    }


@pytest.mark.parametrize(("text", "widths"), [("4", "4/4"), ("3/6", "3/6")])
def test_one_number_is_of_weights_and_activations(work: Path, text: str, widths: str):
    run(
        work / "m.pt", "--calib", work / "calib", "--count", 4, "--bits", text, "--pin", "head=8", "-o", work / "x.onnx"
    )
    recipe = (work / "x.recipe.json").read_text()
    assert f'"bits": "{widths}, 1 layers pinned"' in recipe and '"head": "8/8"' in recipe

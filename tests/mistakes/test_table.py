"""The table of mistakes, run: none of them is silent."""

import json
from importlib import import_module
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner, Result

from .arrays import ARRAYS
from .checkpoints import CHECKPOINTS
from .feeding import DIGITS, QUICK
from .files import FILES
from .labels import LABELS
from .options import OPTIONS
from .pictures import PICTURES
from .table import Command, Mistake

TABLE = (*CHECKPOINTS, *LABELS, *PICTURES, *ARRAYS, *OPTIONS, *FILES)


def run(command: Command) -> Result:
    name, *arguments = map(str, command)
    return CliRunner().invoke(import_module(f"mptq_export.cli.{name}").main, arguments)


def test_the_table_is_large_and_names_are_told_apart():
    assert len({mistake.name for mistake in TABLE}) == len(TABLE) >= 60


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits as a file; no checkpoint names their classes."""
    out = tmp_path_factory.mktemp("digits") / "digits.onnx"
    done = run(["export", DIGITS / "digits_vit.pt", "--calib", DIGITS / "calib", *QUICK, "-o", out])
    assert done.exit_code == 0, done.output
    return out


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    """A folder of the test's own that holds the digits' file, its recipe and nothing else."""
    for path in exported.parent.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


@pytest.mark.parametrize("mistake", TABLE, ids=lambda mistake: mistake.name)
def test_no_mistake_is_silent(mistake: Mistake, folder: Path):
    {"refused": _refused, "told": _told, "right": _right}[mistake.ends](mistake, folder)


def _refused(mistake: Mistake, folder: Path) -> None:
    command = mistake.feed(folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    done = run(command)
    assert done.exit_code in (1, 2, 3), done.output
    said = done.stderr if done.exit_code == 2 else done.stdout
    if done.exit_code == 2:
        assert done.stdout == ""
        errors = [line for line in done.stderr.splitlines() if not line.startswith("warning: ")]
        assert len(errors) == 1 and errors[0].startswith("error: "), done.stderr
    assert "/tmp/tmp" not in said and "Traceback" not in said
    for word in mistake.words:
        assert word in said
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert after == before, "a refusal leaves nothing behind"


def _told(mistake: Mistake, folder: Path) -> None:
    command = mistake.feed(folder)
    done = run([*command, "--json", folder / "told.json"])
    assert done.exit_code == 0, (done.output, done.exception)
    lines = [line.removeprefix("warning: ") for line in done.stderr.splitlines() if line.startswith("warning: ")]
    (line,) = [line for line in lines if mistake.words[0] in line]
    for word in mistake.words:
        assert word in line
    assert line in json.loads((folder / "told.json").read_text())["warnings"]
    if command[0] == "export":
        assert line in json.loads(next(folder.glob("m*.report.json")).read_text())["warnings"]


def _right(mistake: Mistake, folder: Path) -> None:
    command = mistake.feed(folder)
    done = run(command)
    assert done.exit_code == 0, (done.output, done.exception)
    for word in mistake.words:
        assert word in done.stdout
    if mistake.rightly is not None:
        ours = _graph(folder / "m.mptq.onnx")
        rightly = run([*mistake.rightly(folder), "--force"])
        assert rightly.exit_code == 0, (rightly.output, rightly.exception)
        assert ours == _graph(folder / "m.mptq.onnx")


def _graph(path: Path) -> tuple[bytes, dict[str, str]]:
    """What a file computes, and on what."""
    model = onnx.load(path)
    said = {entry.key: entry.value for entry in model.metadata_props if entry.key.startswith("preprocessing.")}
    return model.graph.SerializeToString(deterministic=True), said

"""What commands say: results, with -q nothing, with -v more; never what libraries say, down to the file descriptors."""

import importlib
import logging
import re
import subprocess
import sys
import warnings
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from PIL import Image
from processes import Started

from mptq_export.cli.common import MptqCommand
from mptq_export.cli.terminal import Terminal, warn
from mptq_export.cli.verbosity import output
from mptq_export.support.progress import tracked

from .helpers import STAGE_LINE, files, run


@click.command(cls=MptqCommand)
def talker() -> None:
    """Says everything that a command can say."""
    warnings.warn("from a library", stacklevel=1)
    logging.getLogger("library").warning("logged by a library")
    warn("from us")
    output().print("result")
    assert list(tracked([1, 2], Terminal(), "working", 2)) == [1, 2]


def test_by_default_results_and_our_own_warnings(recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture):
    result = CliRunner().invoke(talker, [])
    assert (result.exit_code, result.stdout, result.stderr) == (0, "result\n", "warning: from us\n")
    assert (list(recwarn), caplog.text) == ([], "")


@pytest.mark.parametrize("option", ["-q", "--quiet"])
def test_quiet(option: str):
    result = CliRunner().invoke(talker, [option])
    assert (result.exit_code, result.output) == (0, "")


@pytest.mark.parametrize("option", ["-v", "--verbose"])
def test_verbose_tells_times_and_what_libraries_say(option: str, caplog: pytest.LogCaptureFixture):
    before = (logging.root.manager.disable, list(warnings.filters))
    with pytest.warns(UserWarning, match="from a library"):
        result = CliRunner().invoke(talker, [option])
    assert (result.exit_code, result.stdout) == (0, "result\n")
    assert "working: 0.0 s\n" in result.stderr
    assert "logged by a library" in caplog.text
    assert (logging.root.manager.disable, list(warnings.filters)) == before


def test_one_of_the_two():
    result = CliRunner().invoke(talker, ["-q", "-v"])
    assert result.exit_code == 2
    assert "--quiet and --verbose exclude each other" in result.stderr


def test_errors_are_told_in_any_case(work: Path):
    result = run(work / "none.pt", "-q")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ")


def test_a_quiet_export_writes_the_same_file(work: Path):
    for name, option in (("a", "-q"), ("b", "-v")):
        result = run(work / "m.pt", "--count", 4, option, "-o", work / f"{name}.onnx")
        assert result.exit_code == 0
        assert (result.output == "") == (option == "-q")
    assert "calibrating: " in result.stderr and "quantizing: " in result.stderr
    assert files(work)["a.onnx"] == files(work)["b.onnx"]


def test_nothing_of_any_library_reaches_the_terminal(work: Path, monkeypatch: pytest.MonkeyPatch):
    """Real processes: C++ writes past Python's streams."""
    for image in list((work / "calib").rglob("*.png")):  # enough of them, or the export warns
        for copy in range(2):
            Image.open(image).rotate(90 + 90 * copy).save(image.with_stem(f"{image.stem}-{copy}"))
    for name in "abcdefg":
        (work / "val" / name).mkdir(parents=True)
        (work / "val" / name / "x.png").write_bytes(image.read_bytes())
    float_and_kit = ("--float-onnx", "float.onnx", "--kit", "kit")
    commands = [
        ("export", "m.pt", "--calib", "calib", *float_and_kit, "--mixed", "2.5", "--mixed-range", "2-3"),
        ("verify", "m.mptq.onnx", "--recipe", "m.mptq.recipe.json"),
        ("eval", "m.mptq.onnx", "--data", "val", "--float", "m.pt"),
        ("bench", "float.onnx", "m.mptq.onnx", "--rounds", "2", "--reference"),
        ("report", "m.mptq.onnx", "--force"),
    ]
    for command, *options in commands:
        assert said_by(command, *options, folder=work), command
    assert Started("mptq_export.cli.export", work / "m.pt", "--count", 4, "-q", "--force").finish() == (0, "", "")
    monkeypatch.chdir(work)
    for command, *options in commands[1:]:  # in this process: what libraries say was seen above
        main = importlib.import_module(f"mptq_export.cli.{command}").main
        result = CliRunner().invoke(main, [*options, "-q"])
        assert (result.exit_code, result.output) == (0, ""), command


def said_by(command: str, *options: str, folder: Path) -> str:
    """The stdout of a command in a process of its own; its stderr holds nothing but the time of stages."""
    line = [sys.executable, "-c", f"from mptq_export.cli.{command} import main; main()", *options]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)
    told = [line for line in done.stderr.splitlines() if not re.fullmatch(STAGE_LINE, line)]
    assert (done.returncode, told) == (0, []), command
    return done.stdout

"""`--version` of every command, and `python -m mptq_export`."""

import importlib
import subprocess
import sys

import click
import onnxruntime
import pytest
from click.testing import CliRunner

from mptq_export import __version__
from mptq_export.__main__ import _COMMANDS
from mptq_export.cli.common import MptqCommand


@pytest.mark.parametrize("command", _COMMANDS)
def test_every_command_says_what_it_runs_on(command: str):
    main = importlib.import_module(f"mptq_export.cli.{command}").main
    result = CliRunner().invoke(main, ["--version"])
    first, packages, python = result.stdout.splitlines()
    assert (result.exit_code, result.stderr) == (0, "")
    assert first == f"mptq-{command} {__version__}"
    assert packages.startswith(f"onnxruntime {onnxruntime.__version__}, ") and ", torch " in packages
    assert python.startswith(f"Python {sys.version.split()[0]}, ")


def by_module(*words: str) -> tuple[int, str, str]:
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_the_commands_without_their_scripts():
    status, out, err = by_module("mptq_export", "verify", "none.onnx")
    assert (status, out) == (2, "") and "error: cannot read none.onnx" in err
    assert by_module("mptq_export.cli.verify", "none.onnx") == (status, out, err)  # not a silent 0
    assert by_module("mptq_export", "--version")[1].startswith(f"mptq-export {__version__}\n")
    status, out, err = by_module("mptq_export", "quantise")
    assert (status, out) == (2, "") and "error: there is no command quantise" in err and "verify" in err


@pytest.mark.parametrize(("name", "told"), [("torch.nn", True), ("mptq_export.gone", False)])
def test_a_missing_package_is_named_and_a_defect_of_ours_is_not_hidden(name: str, told: bool):
    @click.command(cls=MptqCommand)
    def needing() -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    result = CliRunner().invoke(needing, [])
    assert ("error: torch is not installed in this environment" in result.stderr) == told
    assert isinstance(result.exception, SystemExit if told else ModuleNotFoundError)

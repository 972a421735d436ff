"""Steps in processes of their own, as a reader's shell starts them."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tools.pages.blocks import PageError
from tools.pages.fresh import REPO
from tools.pages.steps import Step

_WARNING = "warning: "


@dataclass(frozen=True)
class Said:
    """What a command gave.

    Attributes:
        status: its exit status.
        stdout: what it printed.
        stderr: what else it said: warnings, stages, errors.
    """

    status: int
    stdout: str
    stderr: str


#: Runs a command line in a folder.
Run = Callable[[str, Path], Said]
#: Runs a Python program in a folder.
RunPython = Callable[[str, Path], Said]


def run_command(command: str, folder: Path) -> Said:
    """Run a line in bash, with this environment's commands on the path and this working tree's package."""
    return _run(["bash", "-c", command], folder)


def run_python(program: str, folder: Path) -> Said:
    """Run a program in this Python."""
    return _run([sys.executable, "-c", program], folder)


def _run(arguments: list[str], folder: Path) -> Said:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(REPO)}
    done = subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, check=False, text=True)
    return Said(done.returncode, done.stdout, done.stderr)


def printed_by(step: Step, folder: Path, run: Run = run_command, python: RunPython = run_python) -> str:
    """Run a step and say what it prints: of each command its warnings, then its stdout.

    Raises:
        PageError: a command fails, or would leave the reader's shell in another folder.
    """
    printed = ""
    for command in [step.block.text] if step.is_python else step.commands:
        if not step.is_python and command.startswith("cd "):
            raise PageError(
                f"line {step.block.line}: {command!r} leaves the reader in another folder; write (cd ... && ...)"
            )
        said = (python if step.is_python else run)(command, folder)
        if said.status:
            raise PageError(
                f"line {step.block.line}: {command!r} ends with status {said.status}\n{said.stdout}{said.stderr}"
            )
        warnings = [line + "\n" for line in said.stderr.splitlines() if line.startswith(_WARNING)]
        printed += "".join(warnings) + said.stdout
    return printed

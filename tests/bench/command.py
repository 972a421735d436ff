"""Running a tool within the test."""

import io
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass


@dataclass(frozen=True)
class Ended:
    """How a tool ended, and what it printed."""

    exit_code: int
    stdout: str
    stderr: str


def run(main: Callable[[Sequence[str]], int], *arguments: object) -> Ended:
    """Call a tool's `main` with a command line."""
    with redirect_stdout(io.StringIO()) as stdout, redirect_stderr(io.StringIO()) as stderr:
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as left:
            status = int(left.code or 0)
    return Ended(status, stdout.getvalue(), stderr.getvalue())

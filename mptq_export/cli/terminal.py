"""What a command says on stderr while it works: bars, how long stages took, warnings."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import perf_counter

import click
from rich.console import Console
from rich.progress import Progress, TaskID

from mptq_export.cli.verbosity import is_quiet, is_verbose
from mptq_export.support.errors import one_line
from mptq_export.support.progress import SILENT, Bar


def warn(message: str) -> None:
    """Print ``warning: message`` on one line of stderr; with ``-q`` nothing."""
    if not is_quiet():
        click.echo("warning: " + one_line(message), err=True)


class Terminal:
    """A bar a stage, where stderr is a terminal and there is no ``-q``; with ``-v`` a line tells how long each took."""

    def __init__(self) -> None:
        self._warned: set[str] = set()

    @contextmanager
    def stage(self, label: str, total: float) -> Iterator[Bar]:
        """Draw a bar until the context ends."""
        console, start = Console(stderr=True), perf_counter()
        if console.is_terminal and not is_quiet():
            with Progress(console=console, transient=True) as bars:
                yield _Drawn(bars, bars.add_task(label, total=total))
        else:
            yield SILENT
        if is_verbose():
            click.echo(f"{label}: {perf_counter() - start:.1f} s", err=True)

    def warn(self, sentences: Iterable[str]) -> None:
        """Print those that are new: what a stage warns of stands in its result too."""
        for sentence in sentences:
            if sentence not in self._warned:
                self._warned.add(sentence)
                warn(sentence)


class _Drawn:
    """A bar of rich's."""

    def __init__(self, bars: Progress, task: TaskID) -> None:
        self._bars, self._task = bars, task

    def advance(self, amount: float = 1, text: str = "") -> None:
        """Draw it further, with the text in place of the label."""
        self._bars.update(self._task, advance=amount, description=text or None)

"""What a command says on stderr while it works: one bar for all of it, or a line a stage; warnings."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import click
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mptq_export.cli.verbosity import is_quiet, is_verbose
from mptq_export.support.durations import duration, rough_duration
from mptq_export.support.errors import one_line
from mptq_export.support.progress import Bar, Expected
from mptq_export.support.time_left import TimeLeft

#: Redraws a second.
_FRAMES = 4

#: Seconds without a line, where there is no terminal, after which a stage says how far it is.
SILENCE = 20.0

_BAR = 30

#: What is done between two stages.
_BETWEEN = "preparing"


def warn(message: str) -> None:
    """Print ``warning: message`` on one line of stderr; with ``-q`` nothing."""
    if not is_quiet():
        click.echo(_warning(message), err=True)


def _warning(message: str) -> str:
    return "warning: " + one_line(message)


class Terminal:
    """Where stderr is a terminal: a bar over all stages, with the time that is left.

    As a context manager it shows one command from beginning to end; without, every stage on its own. Where there is no
    terminal, long work says something every 20 seconds. With ``-q`` it shows nothing.

    Attributes:
        time: of the stages so far.
    """

    def __init__(self, *, lines: bool = False) -> None:
        """Show nothing yet.

        Args:
            lines: where there is no terminal every stage leaves a line with its time; with ``-v`` always.
        """
        self.time = TimeLeft()
        self._warned: set[str] = set()
        self._console = Console(stderr=True)
        self._drawn = self._console.is_terminal and not is_quiet()
        self._lines = not is_quiet() and (is_verbose() or (lines and not self._drawn))
        self._open = 0
        self._shown: Live | _Murmur | None = None
        self._text = ""

    def __enter__(self) -> Self:
        self._open += 1
        if self._open == 1 and not is_quiet():
            self._shown = self._live() if self._drawn else _Murmur(self._say_how_far)
            self._shown.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open -= 1
        if self._open == 0 and self._shown is not None:
            self._shown.stop()
            self._shown = None

    @contextmanager
    def stage(self, label: str, total: float) -> Iterator[Bar]:
        """Show it until the context ends; within another stage nothing but its text changes."""
        if self.time.running:
            yield _Within(self)
            return
        with self:
            self._text = ""
            self.time.begin(label, total)
            try:
                yield self
            finally:
                seconds = self.time.end()
            if self._lines:
                self._say(f"{label}: {duration(seconds)}")

    def expect(self, stages: Sequence[Expected]) -> None:
        """As `Progress.expect`."""
        self.time.expect(stages)

    def advance(self, amount: float = 1, text: str = "") -> None:
        """The stage is further, and stands where the text says."""
        self.time.advance(amount)
        self._text = text or self._text

    def warn(self, sentences: Iterable[str]) -> None:
        """Print those that are new: what a stage warns of stands in its result too."""
        for sentence in sentences:
            if sentence not in self._warned and not is_quiet():
                self._say(_warning(sentence))
            self._warned.add(sentence)

    def _say(self, line: str) -> None:
        """Print a line; above the bar, where there is one."""
        if isinstance(self._shown, Live):
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)
            return
        click.echo(line, err=True)
        if self._shown is not None:
            self._shown.said()

    def _say_how_far(self) -> None:
        """Without a terminal: a sign of life in a long stage."""
        self._say(f"{self._label}: {self._how_far()}")

    @property
    def _label(self) -> str:
        return self.time.label if self.time.running else _BETWEEN

    def _how_far(self) -> str:
        left, elapsed = self.time.left, duration(self.time.elapsed)
        if left is None:
            return elapsed
        return f"{elapsed} so far, about {rough_duration(left)} left"

    def _live(self) -> Live:
        # What goes to stdout is the result: it is nothing of this.
        return Live(
            console=self._console,
            get_renderable=self._picture,
            refresh_per_second=_FRAMES,
            transient=True,
            redirect_stdout=False,
        )

    def _picture(self) -> Group:
        """The bar of the whole command, and below it where the stage stands."""
        share, row = self.time.share, Table.grid(padding=(0, 1))
        row.add_row(
            Text(self._label),
            ProgressBar(total=1.0, completed=share, width=_BAR, pulse=share == 0),
            Text(f"{share:4.0%}"),
            Text(self._how_far()),
        )
        below = [Text(self._text, style="dim", no_wrap=True, overflow="ellipsis")] if self._text else []
        return Group(row, *below)


class _Within:
    """The bar of a stage within another: how far that one is, it does not know."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    def advance(self, amount: float = 1, text: str = "") -> None:
        """Only the text is shown."""
        del amount
        self._terminal.advance(0.0, text)


class _Murmur(threading.Thread):
    """Says something when nothing was said for long."""

    def __init__(self, say: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self._say, self._end, self._heard = say, threading.Event(), threading.Event()

    def run(self) -> None:
        """Until it is stopped."""
        while not self._end.is_set():
            if not self._heard.wait(SILENCE):
                self._say()
            self._heard.clear()

    def said(self) -> None:
        """Something was said."""
        self._heard.set()

    def stop(self) -> None:
        """End."""
        self._end.set()
        self._heard.set()
        self.join()

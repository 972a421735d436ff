"""The progress bar of a search: step, mean widths, divergence, time left."""

from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Self

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from mptq_export.cli.verbosity import is_quiet, is_verbose

if TYPE_CHECKING:
    from mptq_export.allocate.greedy_mp import Step


class SearchBar:
    """Shown on stderr from the first accepted step on, where stderr is a terminal."""

    def __init__(self, lowest: float, highest: int) -> None:
        """Nothing is drawn yet.

        Args:
            lowest: mean width at which the search ends.
            highest: width at which it starts.
        """
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        hidden = is_quiet() or not console.is_terminal
        self._progress = Progress(*columns, console=console, transient=True, disable=hidden)
        self._lowest, self._highest = lowest, highest
        self._task = self._progress.add_task("searching", total=1.0, start=False, visible=False)
        self._steps, self._start = 0, perf_counter()

    def tick(self, step: "Step", weights: float, activations: float) -> None:
        """One accepted step, with the mean widths after it."""
        if not self._steps:
            self._progress.start()
            self._progress.start_task(self._task)
        self._steps += len(step.lowered)
        done = (self._highest - max(weights, activations)) / max(self._highest - self._lowest, 1e-9)
        text = f"step {self._steps}  mean bits {weights:.2f}/{activations:.2f}  divergence {step.divergence:.4f}"
        self._progress.update(self._task, completed=done, description=text, visible=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._progress.disable:  # old versions of rich would print an empty line
            self._progress.stop()
        if is_verbose():
            click.echo(f"searching: {self._steps} steps, {perf_counter() - self._start:.1f} s", err=True)

"""What the one who asked for long work hears meanwhile, without the work knowing who listens: bars, and warnings."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, TypeVar

Item = TypeVar("Item")


class Bar(Protocol):
    """How far one stage is."""

    def advance(self, amount: float = 1, text: str = "") -> None:
        """So much more is done.

        Args:
            amount: in the unit of the stage's total.
            text: where the stage stands, for people; empty where the label says enough.
        """


class Progress(Protocol):
    """Who hears how far long work is."""

    def stage(self, label: str, total: float) -> AbstractContextManager[Bar]:
        """Begin a stage, which ends with the context.

        Args:
            label: what is done, such as `calibrating`.
            total: the sum of what the bar will advance.
        """


class Listener(Progress, Protocol):
    """Who also hears what must be known, as soon as it is; results hold it too."""

    def warn(self, sentences: Iterable[str]) -> None:
        """Take warnings, a sentence each; one may come twice."""


class Silent:
    """Nobody listens: what must be known stands in the results."""

    def stage(self, label: str, total: float) -> AbstractContextManager[Bar]:
        """A bar that is not shown."""
        return nullcontext(self)

    def advance(self, amount: float = 1, text: str = "") -> None:
        """Nothing is shown."""

    def warn(self, sentences: Iterable[str]) -> None:
        """Nothing is shown."""


SILENT = Silent()


def tracked(items: Iterable[Item], progress: Progress, label: str, total: float) -> Iterator[Item]:
    """The items as a stage of their own, which advances by 1 as each of them is done with."""
    with progress.stage(label, total) as bar:
        for item in items:
            yield item
            bar.advance()

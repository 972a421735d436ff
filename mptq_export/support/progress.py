"""What the one who asked for long work hears meanwhile, without the work knowing who listens: bars, and warnings."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

Item = TypeVar("Item")

Engine = Literal["torch", "file", "start"]
"""What computes in a stage: torch on its device; what reads and runs the file; neither, while libraries are loaded."""


STARTING = "loading libraries"
"""The first stage of every command: importing what it runs."""


@dataclass(frozen=True)
class Expected:
    """A stage that is to come.

    Attributes:
        label: as the stage will be called.
        seconds: how long it takes, by what it has to do, on one core of the machine that the figures were measured on.
            How much faster or slower this one is shows by what it has done.
        engine: what computes; each has a speed of its own.
    """

    label: str
    seconds: float
    engine: Engine = "torch"


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

    def expect(self, stages: Sequence[Expected]) -> None:
        """Say what is to come, as soon as it can be told; of the stage that runs, what is expected changes.

        Args:
            stages: in their order. They take the place of all coming ones that are called alike; others stay. Where
                none is, they come before all others.
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

    def expect(self, stages: Sequence[Expected]) -> None:
        """Nothing is shown."""

    def advance(self, amount: float = 1, text: str = "") -> None:
        """Nothing is shown."""

    def warn(self, sentences: Iterable[str]) -> None:
        """Nothing is shown."""


SILENT = Silent()


@dataclass(frozen=True)
class Share:
    """A part of a bar: what advances it by 1 advances the whole by its share.

    Attributes:
        bar: the whole.
        share: of it.
    """

    bar: Bar
    share: float

    def advance(self, amount: float = 1, text: str = "") -> None:
        """As `Bar.advance`."""
        self.bar.advance(amount * self.share, text)


def shares(bar: Bar, *parts: float) -> tuple[Share, ...]:
    """Parts of a bar, in proportion to what they take; all of them advance it by 1."""
    whole = sum(parts) or 1.0
    return tuple(Share(bar, part / whole) for part in parts)


@contextmanager
def undivided(progress: Progress, label: str) -> Iterator[None]:
    """A stage whose parts nobody counts: its bar advances once, at its end."""
    with progress.stage(label, 1) as bar:
        yield
        bar.advance()


def tracked(items: Iterable[Item], progress: Progress, label: str, total: float) -> Iterator[Item]:
    """The items as a stage of their own, which advances by 1 as each of them is done with."""
    with progress.stage(label, total) as bar:
        yield from advancing(items, bar)


def advancing(items: Iterable[Item], bar: Bar) -> Iterator[Item]:
    """The items; a bar advances by 1 as each of them is done with."""
    for item in items:
        yield item
        bar.advance()

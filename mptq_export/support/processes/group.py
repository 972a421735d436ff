"""A group of processes that compute the same function on shares of the same work; alone, it is a plain call.

All of them run one call at a time, and results come in the order of the processes. So a sum over all shares is
added up in the order in which one process would add it, and whatever is decided is decided by one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from mptq_export.support.progress import SILENT, Bar

Given = ParamSpec("Given")
Result = TypeVar("Result")
Item = TypeVar("Item")


@dataclass(frozen=True)
class Seat:
    """One process, as a function that runs in it sees it.

    Attributes:
        rank: its number, from 0.
        size: how many there are.
        kept: what earlier calls left here for later ones, by key.
        bar: hears how much of a call this process has done, 1 in all; of others than the first nobody listens.
    """

    rank: int = 0
    size: int = 1
    kept: dict[str, Any] = field(default_factory=dict)
    bar: Bar = SILENT

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """The items of this process: neighbours, so that all shares one after the other are all items again."""
        first, last = (len(items) * rank // self.size for rank in (self.rank, self.rank + 1))
        return items[first:last]

    def dealt(self, items: Sequence[Item]) -> Sequence[Item]:
        """The items of this process, as cards are dealt: where what they cost rises or falls along them."""
        return items[self.rank :: self.size]


class Group(Protocol):
    """Some processes."""

    @property
    def size(self) -> int:
        """How many there are."""
        ...

    def call(
        self, function: Callable[Concatenate[Seat, Given], Result], *given: Given.args, **named: Given.kwargs
    ) -> list[Result]:
        """Run a function in all processes.

        Args:
            function: of a module, so that others find it by its name.
            given: what it gets beside the seat. Tensors arrive on the device of each process.
            named: likewise.

        Returns:
            What it gave, in the order of the processes.

        Raises:
            MptqError: it raised one anywhere, or a process has ended.
        """
        ...

    def hear(self, bar: Bar) -> None:
        """Let a bar follow the calls that come, by what this process does of them: 1 a call."""
        ...

    def drop(self, key: str) -> None:
        """Let all processes forget what they keep by a key, with the next call at the latest."""
        ...


class Alone:
    """This process."""

    size = 1

    def __init__(self, bar: Bar = SILENT) -> None:
        self._seat = Seat(bar=bar)

    def call(
        self, function: Callable[Concatenate[Seat, Given], Result], *given: Given.args, **named: Given.kwargs
    ) -> list[Result]:
        """As the protocol says."""
        return [function(self._seat, *given, **named)]

    def hear(self, bar: Bar) -> None:
        """As the protocol says."""
        self._seat = replace(self._seat, bar=bar)

    def drop(self, key: str) -> None:
        """As the protocol says."""
        self._seat.kept.pop(key, None)

"""How long work tells how far it is and what it warns of, without knowing who watches."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

#: Wraps an iterable: (items, label, number of items) -> the same items; it may draw a bar.
Track = Callable[[Iterable[Any], str, int], Iterator[Any]]
#: Takes warnings, a sentence each, as soon as they are known; results hold them too, so that it may see one twice.
Tell = Callable[[Iterable[str]], None]


def untracked(items: Iterable[Any], _label: str, _total: int) -> Iterator[Any]:
    """The items, and nothing is shown."""
    return iter(items)


def untold(_warnings: Iterable[str]) -> None:
    """Nothing is shown: who asked reads the warnings in the result."""

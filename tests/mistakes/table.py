"""Ways to feed the tool wrongly, and how each of them must end.

A mistake ends in one of three ways, never in a wrong result without a word:

    refused   status 2 and one line that says what to do
    told      a line on stderr without `-v`, which stands in `--json` too
    right     the result is that of the same thing fed rightly
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Command = list[object]
"""Name of the command (`export`, `eval`, `verify`), then its arguments."""


@dataclass(frozen=True)
class Mistake:
    """One way to feed the tool wrongly.

    Attributes:
        name: what a person did.
        feed: does it in a folder, and gives the command.
        ends: how it must end.
        words: what the line must say; for `right`, what stdout must say.
        rightly: for `right`: does the same without the mistake; both must give the same accuracy or logits.
    """

    name: str
    feed: Callable[[Path], Command]
    ends: Literal["refused", "told", "right"]
    words: tuple[str, ...] = ()
    rightly: Callable[[Path], Command] | None = None

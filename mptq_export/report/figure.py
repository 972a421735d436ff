"""One of the figures on top of a page."""

from dataclasses import dataclass

#: How an unknown figure reads.
UNKNOWN = "not measured"


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        title: what it is.
        value: the figure itself, short.
        note: its comparison to float, or why there is none.
    """

    title: str
    value: str
    note: str

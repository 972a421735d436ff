"""How figures read."""

from collections.abc import Iterable, Sequence


def percent(share: float, digits: int = 1) -> str:
    """A share of 1 in per cent."""
    return f"{100 * share:.{digits}f} %"


def interval(bounds: Sequence[float], factor: float, form: str) -> str:
    """``low to high``."""
    low, high = bounds
    return f"{low * factor:{form}} to {high * factor:{form}}"


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, a line a row."""
    lines = ["| " + " | ".join(row) + " |" for row in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])

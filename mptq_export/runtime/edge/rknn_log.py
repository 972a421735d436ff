"""What RKNN-Toolkit2 wrote while it built a file: the table of every operator, and what it complained about."""

import re
from collections import Counter

from mptq_export.runtime.edge.session import PlacedOps, Placement

_COLOUR = re.compile(r"\x1b\[[\d;]*m")
_TABLE = "Network Layer Information Table"
# The number of the operator, its kind, what it computes in, where; then shapes, which may be cut.
_ROW = re.compile(r"^D RKNN: \[[\d:.]+\]\s+\d+\s+(?P<op>\S+)\s+(?P<numbers>[A-Z]+\d*)\s+(?P<where>[A-Z]+)\s")
_COMPLAINT = re.compile(r"^E (?:RKNN: \[[\d:.]+\] )?(?P<text>.+)$")
_RULE = re.compile(r"^D +(?P<rule>\w+): (?:remove|add) node")
_HANDED_OVER = {"InputOperator", "OutputOperator"}


def placement_of(log: str) -> Placement:
    """What runs where, by the compiler's last table.

    Its first and last rows hand the file's input and output over and are no operators.

    Args:
        log: all that the toolkit printed with `verbose=True`.
    """
    lines = _COLOUR.sub("", log).splitlines()
    starts = [number for number, line in enumerate(lines) if _TABLE in line]
    rows: Counter[tuple[str, str, str]] = Counter()
    for line in lines[starts[-1] + 1 :] if starts else ():
        row = _ROW.match(line)
        if row:
            rows[row["op"], row["numbers"], row["where"]] += 1
        elif rows:  # the line below the last one
            break
    return Placement(
        tuple(
            PlacedOps(op, where, numbers, count, accelerated=where != "CPU", integer=not numbers.startswith("FLOAT"))
            for (op, numbers, where), count in rows.items()
            if op not in _HANDED_OVER
        ),
        "the compiler's table of operators",
    )


def complaint_of(log: str) -> str:
    """The last line in which the toolkit names an error; empty where there is none."""
    found = [row["text"] for line in _COLOUR.sub("", log).splitlines() if (row := _COMPLAINT.match(line))]
    told = [text for text in found if not text.startswith("rknn-toolkit2 version") and "Traceback" not in text]
    return told[-1] if told else ""


def endless_rules(log: str, least: int = 10_000) -> str:
    """Rules that the toolkit applies to the same few nodes for ever, with commas; empty where it does not.

    Args:
        log: all that it has printed so far.
        least: so many lines of one kind in a row.
    """
    lines = [line for line in log.splitlines()[-least:] if _RULE.match(line)]
    if len(lines) < least or len(set(lines)) > least // 100:
        return ""
    return ", ".join(sorted({row["rule"] for line in lines if (row := _RULE.match(line))}))

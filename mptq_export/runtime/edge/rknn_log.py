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
#: What hands inputs and outputs over, and where.
_PACKING = {("InputOperator", "CPU"), ("OutputOperator", "CPU"), ("Reshape", "CPU")}


def placement_of(log: str) -> Placement:
    """What runs where, by the compiler's last table.

    Its first and last rows hand the file's input and output over and are no operators of the file. Nor is a Reshape
    next to them that the host does: it packs codes as the file declares them, whatever the file is.

    Args:
        log: all that the toolkit printed with `verbose=True`.
    """
    rows = _rows(_COLOUR.sub("", log).splitlines())
    computed = [number for number, (op, _, where) in enumerate(rows) if (op, where) not in _PACKING]
    kinds = Counter(rows[computed[0] : computed[-1] + 1] if computed else [])
    return Placement(
        tuple(
            PlacedOps(op, where, numbers, count, accelerated=where != "CPU", integer=not numbers.startswith("FLOAT"))
            for (op, numbers, where), count in kinds.items()
        ),
        "the compiler's table of operators",
    )


def _rows(lines: list[str]) -> list[tuple[str, str, str]]:
    """Kind, numbers and place of each row of the last table."""
    starts = [number for number, line in enumerate(lines) if _TABLE in line]
    rows: list[tuple[str, str, str]] = []
    for line in lines[starts[-1] + 1 :] if starts else ():
        row = _ROW.match(line)
        if row:
            rows.append((row["op"], row["numbers"], row["where"]))
        elif rows:  # the line below the last one
            break
    return rows


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

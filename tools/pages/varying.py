"""What may differ between two runs of a command, and nothing else."""

import difflib
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Varying:
    """A part of a line that is not compared.

    Attributes:
        what: it is.
        pattern: what it looks like.
        stands: what is put in its place before two outputs are compared.
    """

    what: str
    pattern: re.Pattern[str]
    stands: str


VARYING = (
    Varying("time by stage", re.compile(r"^time {9}.*$", re.MULTILINE), "time         T"),
    Varying("minutes", re.compile(r"\b\d+(\.\d+)? min( \d+ s)?(?![\w/])"), "T s"),
    Varying("seconds", re.compile(r"\b\d+(\.\d+)? s(?![\w/])"), "T s"),
    Varying("milliseconds", re.compile(r"\b\d+(\.\d+)? ms(?![\w/])"), "T ms"),
    Varying("memory", re.compile(r"\b\d[\d.,]* MB of memory\b"), "M MB of memory"),
    # The next depends on how the installed runtime computes Exp and Gelu on this CPU; the margin behind it is compared.
    Varying("deviation of functions", re.compile(r"largest deviation \S+ of a step"), "largest deviation D of a step"),
    Varying("machine of a kit", re.compile(r"^onnxruntime [\d.]+, \w+ \w+, Python [\d.]+$", re.MULTILINE), "MACHINE"),
    Varying("version of Qualcomm's", re.compile(r"onnxruntime-qnn [\d.]+ \(QAIRT [\d.]+\)"), "onnxruntime-qnn V"),
    Varying("blanks at the end of a line", re.compile(r"[ \t]+$", re.MULTILINE), ""),
)


def comparable(printed: str) -> str:
    """An output with all that varies replaced."""
    for each in VARYING:
        printed = each.pattern.sub(each.stands, printed)
    return printed.strip("\n")


def difference(shown: str, printed: str) -> str:
    """Lines that differ, as a diff from what is shown to what is printed; empty where nothing does."""
    before, after = (comparable(text).splitlines() for text in (shown, printed))
    return "\n".join(difflib.unified_diff(before, after, "shown", "printed", lineterm="", n=0))

"""What a mixed-precision export may cost."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from mptq_export.support.errors import MptqError

BudgetKind = Literal["bits", "bytes", "latency"]
"""Mean width of weights, and of activations; bytes of the ONNX file; milliseconds of one image on this machine."""

#: What a budget can be of: its units, and how many of the budget's own unit (bytes, milliseconds) one is.
_UNITS: dict[str, tuple[BudgetKind, float]] = {
    "": ("bits", 1.0),
    "kB": ("bytes", 1e3),
    "MB": ("bytes", 1e6),
    "GB": ("bytes", 1e9),
    "us": ("latency", 1e-3),
    "ms": ("latency", 1.0),
    "s": ("latency", 1e3),
}


@dataclass(frozen=True)
class Budget:
    """One budget.

    Attributes:
        text: as the user wrote it.
        kind: what it is of.
        most: the largest value.
    """

    text: str
    kind: BudgetKind
    most: float

    @staticmethod
    def parse(text: str) -> "Budget":
        """Read `4.5` (mean bits), `12MB` (file size) or `15ms` (latency).

        Raises:
            MptqError: it is none of them.
        """
        text = text.strip()
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(kB|MB|GB|us|ms|s|)", text)
        if match is None or not float(match[1]) > 0:
            raise MptqError(
                f"--mixed {text} is neither a mean bit-width such as 4.5, nor a file size such as 12MB, nor a latency "
                "such as 15ms"
            )
        kind, size = _UNITS[match[2]]
        return Budget(text, kind, float(match[1]) * size)

    def not_met(self, bits: range, least: str, remedy: str = "raise the budget, or lower --mixed-range") -> MptqError:
        """The refusal of a budget that no widths meet.

        Args:
            bits: widths that are tried, rising.
            least: what the model has at the cheapest ones.
            remedy: what to do.
        """
        return MptqError(
            f"--mixed {self.text} cannot be met: at the cheapest widths of {bits[0]}-{bits[-1]} (pins stand) it has "
            f"{least}; {remedy}"
        )


def check_budgets(budgets: Sequence[Budget], bits: range, pins: Mapping[str, tuple[int, int]]) -> None:
    """Refuse budgets that do not go together, or that no width of the range meets.

    Args:
        budgets: one per result.
        bits: widths that are tried, rising.
        pins: (weights, activations) of layers that do not move.

    Raises:
        MptqError: there is none, one is named twice, they are of several kinds, or one is outside the range.
    """
    if not budgets:
        raise MptqError("there is no budget: name a mean width such as 4.5, a file size or a latency")
    if len({budget.text for budget in budgets}) != len(budgets):
        raise MptqError("--mixed names a budget twice; each gives one file")
    if len({budget.kind for budget in budgets}) > 1:
        raise MptqError("--mixed takes mean widths, file sizes or latencies, not several of them in one search")
    lowest = min([bits[0], *(width for pair in pins.values() for width in pair)])
    for budget in budgets:
        if budget.kind == "bits" and budget.most > bits[-1]:
            raise MptqError(f"--mixed {budget.text} is above --mixed-range, which ends at {bits[-1]}; ask for less")
        if budget.kind == "bits" and budget.most < lowest:
            raise budget.not_met(bits, f"mean widths of at least {lowest:.2f}/{lowest:.2f}")

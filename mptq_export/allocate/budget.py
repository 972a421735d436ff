"""What a mixed-precision export may cost."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from mptq_export.allocate.width_domain import WidthDomain
from mptq_export.recipe.schema import WIDTHS
from mptq_export.support.errors import MptqError

BudgetKind = Literal["bits", "bytes", "latency", "operations", "operations share"]
"""Mean width of weights, and of activations; bytes of the ONNX file; milliseconds of one image on this machine; BOPs of
one image (`bit_operations.py`), or their share of what 8-bit weights and activations take."""

BudgetOption = Literal["--mixed", "--pick"]
"""How a budget is given: with a search, or to one that is stored."""

#: What a budget can be of: its units, and how many of the budget's own unit (bytes, milliseconds, BOPs) one is.
_UNITS: dict[str, tuple[BudgetKind, float]] = {
    "": ("bits", 1.0),
    "kB": ("bytes", 1e3),
    "MB": ("bytes", 1e6),
    "GB": ("bytes", 1e9),
    "us": ("latency", 1e-3),
    "ms": ("latency", 1.0),
    "s": ("latency", 1e3),
    "MBOPs": ("operations", 1e6),
    "GBOPs": ("operations", 1e9),
    "TBOPs": ("operations", 1e12),
    "%": ("operations share", 1e-2),
}

#: A mean width of weights and one of activations.
_PAIR = re.compile(r"(\d+(?:\.\d+)?)/(\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Budget:
    """One budget.

    Attributes:
        text: as the user wrote it.
        kind: what it is of.
        most: the largest value; of mean widths that of weights.
        most_activations: the largest mean width of activations; None where it has no bound, and for other kinds.
        option: which one it was given with.
    """

    text: str
    kind: BudgetKind
    most: float
    most_activations: float | None = None
    option: BudgetOption = field(default="--mixed", compare=False)

    @staticmethod
    def parse(text: str, *, both: bool = True, option: BudgetOption = "--mixed") -> "Budget":
        """Read a budget.

        Args:
            text: `4.5` or `5/12` (mean bits), `12MB` (file size), `15ms` (latency), `20GBOPs` or `75%` (BOPs, or their
                share of those at 8/8).
            both: whether a mean width alone is a bound of activations too.
            option: which one it was given with.

        Raises:
            MptqError: it is none of them.
        """
        text = text.strip()
        if (pair := _PAIR.fullmatch(text)) is not None and float(pair[1]) > 0 and float(pair[2]) > 0:
            return Budget(text, "bits", float(pair[1]), float(pair[2]), option)
        match = re.fullmatch(rf"(\d+(?:\.\d+)?)({'|'.join(_UNITS)})", text)
        if match is None or not float(match[1]) > 0:
            raise MptqError(
                f"{option} {text} is neither a mean bit-width such as 4.5 or 5/12, nor a file size such as 12MB, nor a "
                "latency such as 15ms, nor bit operations such as 75% or 20GBOPs"
            )
        kind, size = _UNITS[match[2]]
        most = float(match[1]) * size
        return Budget(text, kind, most, most if kind == "bits" and both else None, option)

    @property
    def label(self) -> str:
        """The budget as part of a file's name."""
        return budget_label(self.text)

    def not_met(self, domain: WidthDomain, least: str, remedy: str | None = None) -> MptqError:
        """The refusal of a budget that no widths meet.

        Args:
            domain: widths that are tried.
            least: what the model has at the cheapest ones.
            remedy: what to do; None: what helps against most budgets.
        """
        again = "lower" if self.option == "--mixed" else "search again with a lower"
        lower = f", or {again} --mixed-range" if domain.alike and domain.lowest[0] > min(WIDTHS) else ""
        return MptqError(
            f"{self.option} {self.text} cannot be met: at the cheapest widths of {domain} (pins stand) it has "
            f"{least}; {remedy or f'raise the budget{lower}'}"
        )


def budget_label(text: str) -> str:
    """A budget as part of a file's name."""
    return text.replace("/", "-").replace("%", "pct")


def check_budgets(budgets: Sequence[Budget], domain: WidthDomain, pins: Mapping[str, tuple[int, int]]) -> None:
    """Refuse budgets that are one twice, or that no width of the domain meets.

    Args:
        budgets: one per result.
        domain: widths that are tried.
        pins: (weights, activations) of layers that do not move.

    Raises:
        MptqError: there is none, one is named twice, or one is outside the range.
    """
    if not budgets:
        raise MptqError("there is no budget: name a mean width such as 4.5, a file size or a latency")
    if len({(budget.kind, budget.most, budget.most_activations) for budget in budgets}) != len(budgets):
        raise MptqError(f"{budgets[0].option} names a budget twice; each gives one file")
    lowest = [min(side) for side in zip(domain.lowest, *pins.values(), strict=True)]
    if domain.alike:
        lowest = [min(lowest)] * 2
    for budget in budgets:
        if budget.kind != "bits":
            continue
        for most, least, highest in zip(_bounds(budget), lowest, domain.highest, strict=True):
            if most is not None and most > highest:
                what = "--mixed-range, which ends at" if domain.alike else "what there is to choose from, which ends at"
                raise MptqError(f"{budget.option} {budget.text} is above {what} {highest}; ask for less")
            if most is not None and most < least:
                raise budget.not_met(domain, "mean widths of at least {:.2f}/{:.2f}".format(*lowest))


def _bounds(budget: Budget) -> tuple[float | None, float | None]:
    return budget.most, budget.most_activations

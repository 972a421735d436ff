"""The techniques of `best`, each a switch of `Method`, and the methods that an ablation compares."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from mptq_export.quantize.method import BEST, MINMAX, PAPER, Method
from mptq_export.quantize.reconstruct.learning import Learning

#: The switches of `Method` in the order in which they are added, and what they are called. Every one stands here or
#: below, or a test fails.
NAMES: dict[str, str] = {
    "sq_b": "SQ-b",
    "opt_m": "OPT-m",
    "balanced_attention": "balanced attention",
    "ranges_by_error": "ranges by error",
    "weight_scales_by_error": "weight scales by error",
    "bias_correction": "bias correction",
    "gptq": "compensated rounding",
    "ridge_correction": "ridge correction",
    "residual_correction": "residual correction",
    "row_importance": "row importance",
    "attention_ranges": "ranges by the attention",
    "attention_levels": "levels of attention codes",
    "centred_codes": "centred codes",
    "weight_regions": "weights with regions",
}

#: Switches that change nothing in the exact form, which is what is measured.
OF_THE_PORTABLE_FORM = frozenset({"rotated_residual"})

#: The names of `NAMES` that `best` uses, each with the values of its switch: how it is added to min/max.
TECHNIQUES: dict[str, dict[str, Any]] = {
    name: {field: getattr(BEST, field)}
    for field, name in NAMES.items()
    if getattr(BEST, field) != getattr(MINMAX, field)
}

#: Those that `best` does not use: they are being tried.
TRIED: dict[str, dict[str, Any]] = {name: {field: True} for field, name in NAMES.items() if name not in TECHNIQUES}

_BEST = "best"


@dataclass(frozen=True)
class Variant:
    """A row of an ablation.

    Attributes:
        name: of the row.
        method: switches of the search.
        beside: the row that it is compared with, on the same images; None for the first.
        learned: whether the recipe is learned afterwards, and how; None where it is not.
    """

    name: str
    method: Method
    beside: str | None = None
    learned: Learning | None = None


def leaving_out(technique: str) -> Method:
    """`best` with one technique left out."""
    return replace(BEST, **{field: getattr(MINMAX, field) for field in TECHNIQUES[technique]})


def cumulative() -> Iterator[Variant]:
    """Plain min/max, then one technique more a row; the last one gives `best`."""
    method, last = MINMAX, "min/max"
    yield Variant(last, method)
    for technique in list(TECHNIQUES)[:-1]:
        method = replace(method, **TECHNIQUES[technique])
        yield Variant(f"+ {technique}", method, last)
        last = f"+ {technique}"
    yield replace(_best(), beside=last)


def left_out() -> Iterator[Variant]:
    """`best`, and with each technique left out."""
    yield _best()
    for technique in TECHNIQUES:
        yield Variant(f"best without {technique}", leaving_out(technique), _BEST)


def others() -> Iterator[Variant]:
    """What `best` is compared with besides: the published pair, and what is being tried."""
    yield _best()
    yield Variant("paper (SQ-b + OPT-m as published)", PAPER, _BEST)
    yield Variant("best, SQ-b by min/max", replace(BEST, sq_b="range"), _BEST)
    for technique, switches in TRIED.items():
        yield Variant(f"best with {technique}", replace(BEST, **switches), _BEST)


def learned() -> Iterator[Variant]:
    """`best`, and with learning behind it, as it is and with the second term of its loss."""
    yield _best()
    whole = "best, then learned"
    yield Variant(whole, BEST, _BEST, Learning())
    yield Variant(f"{whole} with the rank-one term", BEST, whole, Learning(rank_one=True))


def _best() -> Variant:
    return Variant(_BEST, BEST)


#: Parts of an ablation by name.
PARTS = {"cumulative": cumulative, "left-out": left_out, "others": others, "learned": learned}

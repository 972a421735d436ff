"""Ours beside other methods below four bits, on the same checkpoints and validation images.

Theirs are no figures of this program: they were measured once with each authors' own code, one seed, on the first 1,000
validation images, and given to us. No command here makes them again.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tools.figures.low_bits import BEST, LEARNED
from tools.figures.show import markdown_table, percent
from tools.figures.table import Document, Figures


@dataclass(frozen=True)
class Theirs:
    """What was given to us of a method; shares in per cent, at (3/3, 4/4); None where nothing was measured.

    Attributes:
        name: of the method, and how it ran.
        images: that it was calibrated on, and where that is said apart, reconstructed on.
        hard: top-1 of the checkpoint with 200 classes.
        agreement: of the same with its float model.
        small: top-1 of ViT-small.
    """

    name: str
    images: str
    hard: tuple[float, float]
    agreement: tuple[float, float]
    small: tuple[float, float] | None = None


CALIBRATED = (
    Theirs("FIMA-Q, calibration alone", "128", (19.2, 49.9), (22.7, 65.5), (72.1, 96.2)),
    Theirs("AdaLog, calibration alone", "32", (21.2, 50.3), (26.2, 68.9)),
)
RECONSTRUCTED = (
    Theirs("FIMA-Q, short reconstruction", "128 and 400", (45.5, 53.8), (58.8, 78.4)),
    Theirs("APHQ-ViT, short reconstruction", "400 and 128", (45.5, 54.2), (61.4, 76.4)),
)

_WIDTHS = ("3/3", "4/4")
_HARD, _SMALL = "vit_small_200", "vit_small"


def others_table(documents: Mapping[str, Document]) -> str:
    """A row a method: theirs without reconstruction and ours without, then theirs with and ours with."""
    if "low-bits" not in documents:
        return "*Not measured yet.*"
    document = documents["low-bits"]
    found = {(row["model"], row["bits"], row["how"]): row for row in document.rows}
    rows = [*map(_given, CALIBRATED), _ours("ours, `best`: no gradients", BEST, "128", found)]
    rows += [*map(_given, RECONSTRUCTED), _ours(f"ours, `{LEARNED}`", LEARNED, "400; ViT-small 256", found)]
    heads = [f"{what} {bits}" for what in ("top-1", "agreement", "ViT-small: top-1") for bits in _WIDTHS]
    table = markdown_table(("method", "what was evaluated", "images", *heads), rows)
    return f"{table}\n\nOurs: commit {document.commit}."


def _given(theirs: Theirs) -> tuple[str, ...]:
    shares = (*theirs.hard, *theirs.agreement, *(theirs.small or (None, None)))
    return theirs.name, "simulation in float", theirs.images, *("" if x is None else f"{x:.1f} %" for x in shares)


def _ours(name: str, how: str, images: str, found: Mapping[tuple[str, str, str], Figures]) -> tuple[str, ...]:
    asked = ((_HARD, "top1"), (_HARD, "agreement"), (_SMALL, "top1"))
    shares = [found.get((model, bits, how), {}).get(what) for model, what in asked for bits in _WIDTHS]
    return name, "the integer file", images, *("" if share is None else percent(share) for share in shares)

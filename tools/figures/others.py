"""Ours beside other methods below four bits, on the same checkpoints and validation images.

Theirs are no figures of this program: they were measured once with each authors' own code, one seed, on the first 1,000
validation images, and given to us. No command here makes them again.
"""

from dataclasses import dataclass

from tools.figures.low_bits import BEST, HARD, LEARNED
from tools.figures.show import markdown_table, percent
from tools.figures.table import Document


@dataclass(frozen=True)
class Theirs:
    """What was given to us of a method; shares in per cent, at (3/3, 4/4).

    Attributes:
        name: of the method, and how it ran.
        images: that it was calibrated on, and where that is said apart, reconstructed on.
        hard: top-1 of the checkpoint with 200 classes.
        agreement: of the same with its float model.
        small: top-1 of ViT-small; None where nothing was measured.
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
_SMALL = "vit_small"
_HEAD = ("method", "what was evaluated", "images")
_OURS = {BEST: "ours, `best`: no gradients", LEARNED: f"ours, `{LEARNED}`"}


def hard_markdown(document: Document) -> str:
    """A row a method: theirs without reconstruction and ours without, then theirs with and ours with."""
    rows = [_given(each, each.hard, each.agreement) for each in CALIBRATED]
    rows.append(_ours(document, HARD, BEST, "128", ("top1", "agreement")))
    rows += [_given(each, each.hard, each.agreement) for each in RECONSTRUCTED]
    rows.append(_ours(document, HARD, LEARNED, "400", ("top1", "agreement")))
    return markdown_table((*_HEAD, *_heads("top-1", "agreement")), rows)


def small_markdown(document: Document) -> str:
    """The same of ViT-small, of which less was given."""
    rows = [_given(each, each.small) for each in (*CALIBRATED, *RECONSTRUCTED) if each.small is not None]
    rows += [_ours(document, _SMALL, how, images, ("top1",)) for how, images in ((BEST, "128"), (LEARNED, "256"))]
    return markdown_table((*_HEAD, *_heads("top-1")), rows)


def _heads(*shares: str) -> list[str]:
    return [f"{share} {bits}" for share in shares for bits in _WIDTHS]


def _given(theirs: Theirs, *shares: tuple[float, float]) -> tuple[str, ...]:
    return theirs.name, "simulation in float", theirs.images, *(f"{each:.1f} %" for pair in shares for each in pair)


def _ours(document: Document, model: str, how: str, images: str, shares: tuple[str, ...]) -> tuple[str, ...]:
    found = {row["bits"]: row for row in document.rows if (row["model"], row["how"]) == (model, how)}
    cells = [percent(found[bits][share]) if bits in found else "" for share in shares for bits in _WIDTHS]
    return _OURS[how], "the integer file", images, *cells

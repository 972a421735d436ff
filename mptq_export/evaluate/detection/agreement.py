"""Detections of a file beside those of its float model: no annotations are needed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mptq_export.evaluate.detection.found import FoundObjects
from mptq_export.evaluate.metrics import ratio_interval

SURE = 0.5
"""Detections of a score below it say little, and are not asked for."""

Boxes = NDArray[np.float32]


@dataclass(frozen=True)
class FoundAgain:
    """Detections of one of two models, looked for among all of the other's: of the same class, each taken once.

    Attributes:
        detections: how many are looked for: those with a score of at least `SURE`.
        at_50: share that the other has too, with an intersection over union of at least 0.5; None where there are none.
        at_50_interval: of it, at 95 %, as `metrics.ratio_interval`.
        at_75: the same at 0.75.
    """

    detections: int
    at_50: float | None
    at_50_interval: tuple[float, float] | None
    at_75: float | None


@dataclass(frozen=True)
class Agreement:
    """How alike two detectors are.

    Attributes:
        of_float: detections of the float model that the file has, too.
        of_quantised: detections of the file that the float model has, too.
    """

    of_float: FoundAgain
    of_quantised: FoundAgain


def agreement(quantised: Sequence[FoundObjects], floating: Sequence[FoundObjects]) -> Agreement:
    """Compare what both found on the same pictures."""
    return Agreement(found_again(floating, quantised), found_again(quantised, floating))


def found_again(looked_for: Sequence[FoundObjects], among: Sequence[FoundObjects]) -> FoundAgain:
    """Look for the detections of one model among those of another, picture by picture."""
    counts = np.array([np.sum(each.scores >= SURE) for each in looked_for], np.float64)
    at_50, at_75 = (
        np.array([_hits(one, other, threshold) for one, other in zip(looked_for, among, strict=True)], np.float64)
        for threshold in (0.5, 0.75)
    )
    total = counts.sum()
    if not total:
        return FoundAgain(0, None, None, None)
    some = counts > 0  # a draw of pictures without detections says nothing
    interval = ratio_interval(at_50[some], counts[some])
    return FoundAgain(int(total), float(at_50.sum() / total), interval, float(at_75.sum() / total))


def _hits(looked_for: FoundObjects, among: FoundObjects, threshold: float) -> int:
    """How many are found: the surest first, each takes what it overlaps most."""
    overlaps = intersection_over_union(looked_for.boxes, among.boxes)
    overlaps[looked_for.labels[:, None] != among.labels[None, :]] = 0
    hits = 0
    for row in np.argsort(-looked_for.scores, kind="stable"):
        if looked_for.scores[row] < SURE or not overlaps.shape[1]:
            break
        best = int(overlaps[row].argmax())
        if overlaps[row, best] >= threshold:
            overlaps[:, best] = 0
            hits += 1
    return hits


def intersection_over_union(first: Boxes, second: Boxes) -> NDArray[np.float64]:
    """Of all pairs: (N, M), from (N, 4) and (M, 4) as x1, y1, x2, y2."""
    a, b = first.astype(np.float64)[:, None], second.astype(np.float64)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    both = np.clip(sides, 0, None).prod(-1)
    either = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - both
    found: NDArray[np.float64] = np.divide(both, either, out=np.zeros_like(both), where=either > 0)
    return found

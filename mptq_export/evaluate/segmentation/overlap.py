"""Intersection over union of classes, from how many pixels have each class, and how many were given it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
"""(pictures, classes): numbers of pixels."""


@dataclass(frozen=True)
class Overlap:
    """How well classes were found, as shares of 1.

    Attributes:
        mean_iou: mean over the classes that a label map has or that were given to a labelled pixel; a class that no
            label map has, and that was given, counts as 0, as is usual.
        pixel_accuracy: share of the labelled pixels that were given their class.
        class_accuracy: mean over the classes of label maps of the share of their pixels that were given it.
    """

    mean_iou: float
    pixel_accuracy: float
    class_accuracy: float


@dataclass(frozen=True)
class PictureOverlaps:
    """What each picture adds to the intersections and unions of all classes.

    Attributes:
        both: pixels of a class that were given it.
        labelled: pixels of a class.
        given: labelled pixels that were given a class.
    """

    both: Counts
    labelled: Counts
    given: Counts

    @classmethod
    def joined(cls, parts: Sequence["PictureOverlaps"]) -> "PictureOverlaps":
        """Of all pictures, from those of each."""
        return cls(
            np.concatenate([part.both for part in parts]),
            np.concatenate([part.labelled for part in parts]),
            np.concatenate([part.given for part in parts]),
        )

    @classmethod
    def of_one(
        cls, labels: NDArray[np.int64], known: NDArray[np.bool_], found: NDArray[np.int64], classes: int
    ) -> "PictureOverlaps":
        """Count the pixels of one picture.

        Args:
            labels: (height, width) class of each pixel.
            known: (height, width) which pixels have one.
            found: (height, width) the class that was given.
            classes: how many there are.
        """
        wanted, given = labels[known], found[known]
        counted = (np.bincount(each, minlength=classes) for each in (wanted[wanted == given], wanted, given))
        both, labelled, all_given = (each[None] for each in counted)
        return cls(both, labelled, all_given)


def class_ious(overlaps: PictureOverlaps, counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of each class where pictures count several times: (draws, classes); NaN without pixels.

    Args:
        overlaps: of each picture.
        counts: (draws, pictures) how often each picture counts.
    """
    both, labelled, given = (counts @ each for each in (overlaps.both, overlaps.labelled, overlaps.given))
    either = labelled + given - both
    found: NDArray[np.float64] = np.divide(both, either, out=np.full(both.shape, np.nan), where=either > 0)
    return found


def mean_ious(overlaps: PictureOverlaps, counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of `class_ious` over classes that have one: (draws,)."""
    ious = class_ious(overlaps, counts)
    known = ~np.isnan(ious)
    sums = np.where(known, ious, 0).sum(1)
    found: NDArray[np.float64] = np.divide(sums, known.sum(1), out=np.full(sums.shape, np.nan), where=known.any(1))
    return found


def overlap(overlaps: PictureOverlaps) -> Overlap:
    """The figures of all pictures, of which one has a labelled pixel."""
    once = np.ones((1, len(overlaps.both)))
    both, labelled = overlaps.both.sum(0), overlaps.labelled.sum(0)
    there = labelled > 0
    return Overlap(
        float(mean_ious(overlaps, once)[0]),
        float(both.sum() / labelled.sum()),
        float((both[there] / labelled[there]).mean()),
    )

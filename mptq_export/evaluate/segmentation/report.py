"""What an evaluation of a segmentation found."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from mptq_export.evaluate.edge import RanIn
from mptq_export.evaluate.metrics import pictures_interval
from mptq_export.evaluate.segmentation.overlap import (
    Overlap,
    PictureOverlaps,
    class_ious,
    mean_ious,
    overlap,
)
from mptq_export.support.json_files import Json

Interval = tuple[float, float]


@dataclass(frozen=True)
class SegmentationReport:
    """A map of classes of a file on pictures.

    Attributes:
        pictures: how many there are.
        classes: how many the model has.
        labelled_classes: how many of them label maps have; None without label maps.
        labelled_share: share of the pixels that have a class in a label map; None without label maps.
        quantised: of the file; None without label maps.
        quantised_interval: what mean IoU other pictures of the same kind would give, at 95 %, as
            `metrics.pictures_interval`.
        floating: of the float model; None without one, or without label maps.
        difference: mean IoU of the file less that of the float model.
        difference_interval: of it, at 95 %: both are judged on each draw of pictures, so that what they share cancels.
        agreement: share of all pixels that both give the same class; None without a float model.
        quantised_by_class: IoU of each class by its name or number; None of a class that has no pixels.
        floating_by_class: the same of the float model.
    """

    pictures: int
    classes: int
    labelled_classes: int | None
    labelled_share: float | None
    quantised: Overlap | None
    quantised_interval: Interval | None
    floating: Overlap | None
    difference: float | None
    difference_interval: Interval | None
    agreement: float | None
    quantised_by_class: dict[str, float | None] | None
    floating_by_class: dict[str, float | None] | None


@dataclass(frozen=True)
class SegmentationEvaluated:
    """The report, and what belongs to it.

    Attributes:
        report: what was found.
        about: file and pictures, as plain JSON values, with what the user should know as `warnings`.
        ran_in: the runtime that was asked for; None for onnxruntime on this CPU.
    """

    report: SegmentationReport
    about: dict[str, Json]
    ran_in: RanIn | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know, a sentence each."""
        told = self.about["warnings"]
        assert isinstance(told, list)
        return tuple(map(str, told))

    def to_json(self) -> dict[str, Json]:
        """All of it as plain JSON values."""
        ran_in = {} if self.ran_in is None else {"ran_in": self.ran_in.to_json()}
        return {"task": "segmentation", **asdict(self.report), **self.about, **ran_in}


@dataclass(frozen=True)
class Tally:
    """What was counted over all pictures.

    Attributes:
        pictures: how many there are.
        pixels: of all of them.
        same: pixels that the file and the float model give the same class; None without a float model.
        quantised: what each picture adds; None without label maps.
        floating: of the float model; None without one, or without label maps.
    """

    pictures: int
    pixels: int
    same: int | None
    quantised: PictureOverlaps | None
    floating: PictureOverlaps | None


def report_of(tally: Tally, classes: int, names: Sequence[str] | None) -> SegmentationReport:
    """The figures of what was counted.

    Args:
        tally: of all pictures.
        classes: how many the model has.
        names: of the classes; None where nobody says them.
    """
    found, exact = tally.quantised, tally.floating
    called = list(names) if names is not None else [str(number) for number in range(classes)]
    interval = difference = difference_interval = None
    if found is not None:
        interval = pictures_interval(tally.pictures, lambda counts: mean_ious(found, counts))
    if found is not None and exact is not None:

        def less(counts: NDArray[np.float64]) -> NDArray[np.float64]:
            return mean_ious(found, counts) - mean_ious(exact, counts)

        difference = float(less(np.ones((1, tally.pictures)))[0])
        difference_interval = pictures_interval(tally.pictures, less)
    return SegmentationReport(
        tally.pictures,
        classes,
        None if found is None else int((found.labelled.sum(0) > 0).sum()),
        None if found is None else float(found.labelled.sum() / tally.pixels),
        None if found is None else overlap(found),
        interval,
        None if exact is None else overlap(exact),
        difference,
        difference_interval,
        None if tally.same is None else tally.same / tally.pixels,
        _by_class(found, called),
        _by_class(exact, called),
    )


def _by_class(overlaps: PictureOverlaps | None, names: list[str]) -> dict[str, float | None] | None:
    if overlaps is None:
        return None
    ious = class_ious(overlaps, np.ones((1, len(overlaps.both))))[0].tolist()
    return {name: None if np.isnan(iou) else iou for name, iou in zip(names, ious, strict=True)}

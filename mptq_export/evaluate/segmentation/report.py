"""What an evaluation of a segmentation found."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from mptq_export.evaluate.edge import RanIn
from mptq_export.evaluate.metrics import draws_interval, over_draws
from mptq_export.evaluate.segmentation.overlap import (
    Overlap,
    PictureOverlaps,
    class_ious,
    mean_ious,
    overlap,
)
from mptq_export.evaluate.told import Told
from mptq_export.support.json_files import Json

Interval = tuple[float, float]


@dataclass(frozen=True)
class Intersection:
    """Intersection over union of a file, and of its float model, on the same images.

    Attributes:
        labelled_classes: how many of the classes label maps have.
        labelled_share: share of the pixels that have a class in a label map.
        quantised: of the file.
        quantised_interval: what mean IoU other images of the same kind would give, at 95 %, as
            `metrics.draws_interval`; None where it is not known.
        quantised_by_class: IoU of each class by its name or number; None of a class that has no pixels.
        floating: of the float model; None without one.
        floating_by_class: as `quantised_by_class`.
        difference: mean IoU of the file less that of the float model.
        difference_interval: of it, at 95 %: both are judged on each draw of images, so that what they share cancels.
    """

    labelled_classes: int
    labelled_share: float
    quantised: Overlap
    quantised_interval: Interval | None
    quantised_by_class: dict[str, float | None]
    floating: Overlap | None = None
    floating_by_class: dict[str, float | None] | None = None
    difference: float | None = None
    difference_interval: Interval | None = None


@dataclass(frozen=True)
class SegmentationReport:
    """A map of classes of a file on images.

    Attributes:
        images: how many there are.
        classes: how many the model has.
        iou: by label maps; None without them.
        same_class: share of all pixels that file and float model give the same class; None without a float model.
    """

    images: int
    classes: int
    iou: Intersection | None
    same_class: float | None


@dataclass(frozen=True)
class SegmentationEvaluated(Told):
    """The report, and what belongs to it.

    Attributes:
        report: what was found.
        about: file and pictures, as plain JSON values, with what the user should know as `warnings`.
        ran_in: the runtime that was asked for; None for onnxruntime on this CPU.
    """

    report: SegmentationReport
    about: dict[str, Json]
    ran_in: RanIn | None = None

    def to_json(self) -> dict[str, Json]:
        """All of it as plain JSON values."""
        return self.with_origin({"task": "segmentation", **asdict(self.report)})


@dataclass(frozen=True)
class Tally:
    """What was counted over all pictures.

    Attributes:
        images: how many there are.
        pixels: of all of them.
        same: pixels that the file and the float model give the same class; None without a float model.
        quantised: what each image adds; None without label maps.
        floating: of the float model; None without one, or without label maps.
    """

    images: int
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
    called = list(names) if names is not None else [str(number) for number in range(classes)]
    same = None if tally.same is None else tally.same / tally.pixels
    return SegmentationReport(tally.images, classes, _intersection(tally, called), same)


def _intersection(tally: Tally, names: list[str]) -> Intersection | None:
    found, exact = tally.quantised, tally.floating
    if found is None:
        return None
    drawn = over_draws(tally.images, lambda counts: mean_ious(found, counts))
    alone = Intersection(
        int((found.labelled.sum(0) > 0).sum()),
        float(found.labelled.sum() / tally.pixels),
        overlap(found),
        draws_interval(drawn),
        _by_class(found, names),
    )
    if exact is None:
        return alone
    other = overlap(exact)
    return replace(
        alone,
        floating=other,
        floating_by_class=_by_class(exact, names),
        difference=alone.quantised.mean_iou - other.mean_iou,
        difference_interval=draws_interval(drawn - over_draws(tally.images, lambda counts: mean_ious(exact, counts))),
    )


def _by_class(overlaps: PictureOverlaps, names: list[str]) -> dict[str, float | None]:
    ious = class_ious(overlaps, np.ones((1, len(overlaps.both))))[0].tolist()
    return {name: None if np.isnan(iou) else iou for name, iou in zip(names, ious, strict=True)}

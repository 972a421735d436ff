"""What an evaluation of a detector found."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from mptq_export.evaluate.detection.agreement import Agreement
from mptq_export.evaluate.detection.average_precision import (
    AveragePrecision,
    Judged,
    Kind,
    Truth,
    judge,
    mean_precision,
)
from mptq_export.evaluate.detection.found import FoundObjects
from mptq_export.evaluate.edge import RanIn
from mptq_export.evaluate.metrics import draws_interval, over_draws
from mptq_export.evaluate.told import Told
from mptq_export.support.json_files import Json

Interval = tuple[float, float]


@dataclass(frozen=True)
class Precision:
    """Average precision of a file, and of its float model, by the same glue on the same pictures.

    Attributes:
        kind: of boxes or of masks.
        quantised: of the file.
        quantised_interval: what AP other pictures of the same kind would give, at 95 %, as
            `metrics.draws_interval`; None where it is not known.
        quantised_by_category: AP of each category with objects, by its name.
        floating: of the float model; None without one.
        floating_by_category: as `quantised_by_category`.
        difference: AP of the file less that of the float model.
        difference_interval: of it, at 95 %: both are judged on each draw of pictures, so that what they share cancels.
    """

    kind: Kind
    quantised: AveragePrecision
    quantised_interval: Interval | None
    quantised_by_category: dict[str, float]
    floating: AveragePrecision | None = None
    floating_by_category: dict[str, float] | None = None
    difference: float | None = None
    difference_interval: Interval | None = None


@dataclass(frozen=True)
class DetectionReport:
    """A detector's file on pictures.

    Attributes:
        images: how many there are.
        objects: on them, to be found; None without annotations.
        crowds: on them; what is found in one counts neither way.
        empty: images without objects: what is found there is wrong.
        categories: how many were judged.
        precision: of boxes, then of masks where they are known; empty without objects.
        found_again: detections of the file and of the float model, each among the other's; None without one.
    """

    images: int
    objects: int | None
    crowds: int
    empty: int
    categories: int
    precision: tuple[Precision, ...]
    found_again: Agreement | None


@dataclass(frozen=True)
class DetectionEvaluated(Told):
    """The report, and what belongs to it.

    Attributes:
        report: what was found.
        about: files and pictures, as plain JSON values, with what the user should know as `warnings`.
        ran_in: the runtime that was asked for; None for onnxruntime on this CPU.
    """

    report: DetectionReport
    about: dict[str, Json]
    ran_in: RanIn | None = None

    def to_json(self) -> dict[str, Json]:
        """All of it as plain JSON values."""
        return self.with_origin({"task": "detection", **asdict(self.report)})


def compare(
    truth: Truth,
    names: Mapping[int, str],
    quantised: Sequence[FoundObjects],
    floating: Sequence[FoundObjects] | None,
    kind: Kind,
) -> Precision:
    """Judge what a file found, and what its float model found.

    Args:
        truth: what there is, with an object to be found.
        names: of the categories, by id.
        quantised: by the file, on each picture.
        floating: by the float model; None without one.
        kind: of boxes or of masks.
    """
    found = judge(truth, quantised, kind)
    drawn = over_draws(len(truth.sizes), lambda counts: mean_precision(found.curves, counts))
    alone = Precision(kind, found.figures, draws_interval(drawn), _named(found, names))
    if floating is None:
        return alone
    exact = judge(truth, floating, kind)
    alone = replace(alone, floating=exact.figures, floating_by_category=_named(exact, names))
    if found.figures.ap is None or exact.figures.ap is None:
        return alone
    other = over_draws(len(truth.sizes), lambda counts: mean_precision(exact.curves, counts))
    return replace(
        alone,
        difference=found.figures.ap - exact.figures.ap,
        difference_interval=draws_interval(drawn - other),
    )


def _named(judged: Judged, names: Mapping[int, str]) -> dict[str, float]:
    return {names[number]: value for number, value in judged.by_category.items()}

"""What a stored search was asked for, and what it is of: read before torch is imported. No budget is among it."""

from dataclasses import dataclass
from pathlib import Path

from mptq_export.allocate.request import SearchRequest
from mptq_export.allocate.width_domain import WidthDomain
from mptq_export.calibrate.request import CalibrationRequest
from mptq_export.data.reading import Reading
from mptq_export.recipe.metric import metric_text
from mptq_export.recipe.settings import InputType, MethodName


@dataclass(frozen=True)
class Origin:
    """What was searched.

    Attributes:
        model: its name, for people.
        weights_sha256: of its weights, those of a detector's heads too.
        inputs: the calibration inputs, for people.
        inputs_sha256: of them as the model gets them.
        version: of this program.
    """

    model: str
    weights_sha256: str
    inputs: str
    inputs_sha256: str
    version: str


@dataclass(frozen=True)
class CalibrationTerms:
    """Where the calibration inputs are, and how they are read.

    Attributes:
        images: their path as it was named; None for synthetic ones, or what only a program had.
        given: whether only a program had them.
        count: at most so many.
        exif: images are turned as their EXIF orientation says.
        allow_skipped: more than a tenth of the images may be left out.
        any_range: the values of an array need not be normalised pixels.
        class_map: file that names the logits.
    """

    images: str | None
    given: bool
    count: int
    exif: bool
    allow_skipped: bool
    any_range: bool
    class_map: str | None

    @staticmethod
    def of(asked: CalibrationRequest) -> "CalibrationTerms":
        """Those of a request."""
        path, named, reading = asked.images, asked.class_map, asked.reading
        return CalibrationTerms(
            images=None if path is None else str(path),
            given=asked.given.anything,
            count=asked.count,
            exif=reading.exif,
            allow_skipped=reading.allow_skipped,
            any_range=reading.any_range,
            class_map=None if named is None else str(named),
        )

    def request(self, images: Path | None, device: str | None) -> CalibrationRequest:
        """The same calibration.

        Args:
            images: where the inputs are now; None: where they were.
            device: torch device; None takes a GPU where there is one.
        """
        path = images or (None if self.images is None else Path(self.images))
        reading = Reading(self.exif, self.allow_skipped, self.any_range)
        named = None if self.class_map is None else Path(self.class_map)
        return CalibrationRequest(path, self.count, reading, named, device)


@dataclass(frozen=True)
class SearchTerms:
    """All that decides what a search finds, whatever the budget.

    Attributes:
        origin: what was searched.
        calibration: on what.
        weights: widths of weights to choose from, rising.
        activations: widths of activations to choose from, rising.
        tied: weights and activations of a layer move together.
        pins: (weights, activations) of layers that do not move, by shell pattern of their names.
        metric: what is kept small; see `recipe.metric.metric_text`.
        method: how layers are quantized.
        target: the runtime that the file is for; None is `ort`.
        residual_bits: width of the residual that was asked for.
        input_type: what the file takes, as far as it was asked for.
    """

    origin: Origin
    calibration: CalibrationTerms
    weights: tuple[int, ...]
    activations: tuple[int, ...]
    tied: bool
    pins: dict[str, tuple[int, int]]
    metric: str
    method: MethodName
    target: str | None
    residual_bits: int | None
    input_type: InputType | None

    @property
    def domain(self) -> WidthDomain:
        """The widths to choose from."""
        return WidthDomain(self.weights, self.activations)

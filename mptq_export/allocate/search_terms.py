"""What a stored search was asked for, and what it is of: read before torch is imported. No budget is among it."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

from mptq_export.allocate.budget import Budget, check_budgets
from mptq_export.allocate.request import SearchRequest, check_timed
from mptq_export.allocate.width_domain import WidthDomain
from mptq_export.calibrate.request import CalibrationRequest
from mptq_export.data.reading import Reading
from mptq_export.recipe.metric import MetricName
from mptq_export.recipe.settings import InputType, MethodName
from mptq_export.support.errors import MptqError
from mptq_export.support.json_files import load_json
from mptq_export.support.typed_json import from_json

SEARCH_VERSION = 2
"""Of what is stored of a search."""

JOURNAL_SUFFIX = ".jsonl"
"""Of the name of a search that is not done."""

Read = TypeVar("Read")


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

    @property
    def path(self) -> Path | None:
        """Where the inputs were."""
        return None if self.images is None else Path(self.images)

    def request(self, images: Path | None, device: str | None) -> CalibrationRequest:
        """The same calibration.

        Args:
            images: where the inputs are now; None: where they were.
            device: torch device; None takes a GPU where there is one.

        Raises:
            MptqError: the inputs are not where they were, or only a program had them.
        """
        path = images or self.path
        if images is None and (self.given or (path is not None and not path.exists())):
            where = "inputs that only a program had" if self.given else f"{path}, which is not there"
            raise MptqError(f"the search was calibrated on {where}: name them with --calib, as they were")
        reading = Reading(self.exif, self.allow_skipped, self.any_range)
        return CalibrationRequest(
            path, self.count, reading, None if self.class_map is None else Path(self.class_map), device
        )


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

    @property
    def closed_form(self) -> MetricName | None:
        """The metric where it is one of the known ones; None where it goes by the kind of output, or is one's own."""
        return next((name for name in get_args(MetricName) if name == self.metric), None)

    def request(self, budgets: tuple[Budget, ...]) -> SearchRequest:
        """What a search of these budgets would be asked for."""
        return SearchRequest(budgets, self.domain, self.tied, self.pins, self.closed_form)


def parse_picks(texts: Iterable[str], terms: SearchTerms) -> tuple[Budget, ...]:
    """The budgets that a stored search is asked for.

    Raises:
        MptqError: one cannot be read, is named twice, or is outside the range of the search.
    """
    domain = terms.domain
    found = tuple(Budget.parse(text, both=domain.alike, option="--pick") for text in texts)
    check_budgets(found, domain, terms.pins)
    check_timed(found, terms.target)
    return found


def read_terms(path: Path) -> SearchTerms:
    """The terms of a stored search.

    Args:
        path: OUT.search.json, or the journal OUT.search.jsonl of an interrupted search.

    Raises:
        MptqError: it is no such file.
    """
    return from_stored(path, SearchTerms, stored_json(path).get("terms"))


def from_stored(path: Path, kind: type[Read], values: Any) -> Read:
    """A part of a stored search.

    Raises:
        MptqError: it is not what it should be.
    """
    try:
        return from_json(kind, values)
    except ValueError as error:
        raise MptqError(f"--search {path} is damaged ({error}); search again") from error


def stored_json(path: Path) -> dict[str, Any]:
    """What a stored search holds, unchecked but for its version.

    Of a journal `measured` is what it holds of divergences, by the text of widths.

    Raises:
        MptqError: it cannot be read, or is of another version, or no such file.
    """
    try:
        found = _of_journal(path) if path.suffix == JOURNAL_SUFFIX else load_json(path)
    except OSError as error:
        raise MptqError(
            f"cannot read --search {path}: {error.strerror}; name the .search.json of a search (--mixed), or the "
            ".search.jsonl of an interrupted one"
        ) from error
    except ValueError as error:
        raise MptqError(f"--search {path} is no stored search ({error})") from error
    if not isinstance(found, dict) or "search_version" not in found:
        raise MptqError(
            f"--search {path} holds no search that can be asked: it is of an older version, of a search that was "
            "interrupted before it measured anything, or something else; search (again) with --mixed"
        )
    if found["search_version"] != SEARCH_VERSION:
        raise MptqError(
            f"--search {path} is of another version of this program (its version is {found['search_version']!r}, this "
            f"one reads {SEARCH_VERSION}); search again"
        )
    return found


def _of_journal(path: Path) -> dict[str, Any]:
    """The stored part of a journal, and its measurements; a line that an interruption cut is none."""
    found: dict[str, Any] = {}
    measured: dict[str, Any] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            break
        if not isinstance(entry, dict):
            raise ValueError("a line is no object")
        if "stored" in entry:
            found |= entry["stored"]
        elif "search" in entry:
            found["identity"] = entry["search"]
        elif "widths" in entry:
            measured[entry["widths"]] = entry.get("divergences")
    return {**found, "measured": measured} if "terms" in found or "search_version" in found else {}

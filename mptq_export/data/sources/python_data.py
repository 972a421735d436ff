"""What a program gives to calibrate on: a DataLoader, a data set, a generator, lists, pictures.

A stream is read once, as far as it is needed: the inputs that are calibrated on and a few more, which exports are
compared with float on.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from PIL import Image

from mptq_export.data.comparison_images import FixedImages, choose_fixed
from mptq_export.data.images import spread
from mptq_export.data.pixel_range import range_problem
from mptq_export.data.preprocessing import Preprocessing
from mptq_export.data.reading import Reading
from mptq_export.data.sources.folder import normalised
from mptq_export.data.sources.held import HeldInputs
from mptq_export.data.sources.items import ItemReader
from mptq_export.data.sources.own_transform import OwnTransform
from mptq_export.data.sources.source import CalibrationSource, Inputs
from mptq_export.data.suspicions import Suspicions
from mptq_export.data.values import SeenRange
from mptq_export.support.errors import MptqError

COMPARED = 64
"""Inputs of a stream that are read beyond those that are calibrated on."""
_ONE_LABEL = 16
"""So many inputs of one label are one class, and no chance."""


def from_python(
    given: Any, preprocessing: Preprocessing, count: int, reading: Reading, transform: OwnTransform | None
) -> CalibrationSource:
    """Inputs out of an iterable, or of anything with a length and indices.

    Args:
        given: a data set with a length is read at indices that are spread evenly, all else from its start.
        preprocessing: the model's.
        count: at most so many inputs.
        reading: how values are taken, where not as usual.
        transform: the caller's own, for pictures; None for the model's preprocessing.

    Raises:
        MptqError: there is nothing in it, or what is in it does not fit the model.
    """
    what = f"a {type(given).__name__}"
    items = _Items(what, preprocessing, reading, transform)
    length = items.length(given)
    if length is None:
        held, compared = items.stream(given, count)
    else:
        held, compared = items.at(given, spread(range(length), count)), None
    described = f"{held.count} inputs of {what}" + (f", prepared by {transform.name}" if transform else "")
    warnings = items.warnings(held, described)

    def comparison(most: int) -> FixedImages:
        if compared is None:
            chosen, seen = choose_fixed(length or 0, most, count)
            return _fixed(items.at(given, chosen).values, f"of {length} inputs of {what}", seen)
        if compared.count:
            return _fixed(_spread(compared.values, most), f"inputs of {what} that follow those", 0)
        some = _spread(held.values, most)
        return _fixed(some, f"of {described}", len(some))

    return CalibrationSource(
        count=held.count,
        description=described,
        warnings=warnings,
        read=lambda: iter(held.values),
        comparison=comparison,
        held=held.values,
    )


def _spread(values: Inputs, most: int) -> Inputs:
    return values[spread(range(len(values)), most)]


def _fixed(values: Inputs, of: str, seen: int) -> FixedImages:
    return FixedImages(len(values), f"{len(values)} {of}", seen, iter(values))


class _Items:
    """Inputs out of the items of one thing, and what is suspicious of them."""

    def __init__(
        self, what: str, preprocessing: Preprocessing, reading: Reading, transform: OwnTransform | None
    ) -> None:
        to_input = normalised(preprocessing)
        convert = transform or (lambda image: to_input(preprocessing.transform_uint8(image)))
        self._what, self._preprocessing, self._reading, self._transform = what, preprocessing, reading, transform
        self._reader = ItemReader(preprocessing, convert, exif=reading.exif)

    def length(self, given: Any) -> int | None:
        """How many items there are of one input each, at indices from 0 on; None for all else."""
        indexed = hasattr(given, "__len__") and hasattr(given, "__getitem__")
        if isinstance(given, Mapping | Image.Image) or not indexed:
            return None
        try:
            first = given[0]
        except (LookupError, TypeError, ValueError, RuntimeError, OSError):  # NotImplementedError too: of a stream
            return None
        return len(given) if len(self._reader.inputs(first, f"item 0 of {self._what}")) == 1 else None

    def at(self, given: Any, indices: Iterable[int]) -> HeldInputs:
        """The inputs at some indices."""
        held = HeldInputs(self._preprocessing.input_size, self._what)
        for index, item in self._raised_as_ours((index, given[index]) for index in indices):
            held.add(self._reader.inputs(item, f"item {index} of {self._what}"))
        return held

    def stream(self, given: Any, count: int) -> tuple[HeldInputs, HeldInputs]:
        """The first inputs, and those that come after them, as far as there are any."""
        held, after = (HeldInputs(self._preprocessing.input_size, self._what) for _ in range(2))
        items = [given] if isinstance(given, Mapping | Image.Image) else given
        try:
            each = iter(items)
        except TypeError as error:
            raise MptqError(
                f"{self._what} is no calibration data; give a folder, an array or a tensor of inputs, a list of files, "
                "or batches, such as a DataLoader"
            ) from error
        for number, item in self._raised_as_ours(enumerate(each)):
            inputs = self._reader.inputs(item, f"item {number} of {self._what}")
            room, more = count - held.count, COMPARED - after.count
            held.add(inputs[:room])
            after.add(inputs[room:][:more])
            if held.count == count and after.count == COMPARED:
                break
        return held, after

    def warnings(self, held: HeldInputs, described: str) -> tuple[str, ...]:
        """What is suspicious of the inputs that are calibrated on, a sentence each.

        Raises:
            MptqError: there are none, or they cannot be what the model wants.
        """
        if not held.count:
            raise MptqError(f"{self._what} is empty; give at least one input")
        if self._transform is not None and not self._transform.called:
            raise MptqError(
                f"{self._what} gives arrays, and transform takes pictures: leave transform out, or give pictures"
            )
        seen, suspicions = SeenRange(held.values.shape[1]), Suspicions()
        for values in held.values:
            seen.look(values[None], described)
            suspicions.look(values.transpose(1, 2, 0))
        if self._transform is None and not self._reading.any_range:
            problem = range_problem(described, seen.low, seen.high, self._preprocessing)
            if problem is not None:
                raise MptqError(
                    f"{problem}; give (x / 255 - mean) / std or pictures, or any_range=True if these are no pixels"
                )
        found = suspicions.warnings(described)
        if held.count >= _ONE_LABEL and self._reader.labels is not None and len(self._reader.labels) == 1:
            found += (f"{described} all have the label {min(self._reader.labels)}: shuffle them, or give more classes",)
        return found + (() if self._transform is None else self._transform.warnings(described))

    def _raised_as_ours(self, items: Iterable[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
        """The same items; what they raise becomes one line."""
        number = 0
        iterator = iter(items)
        while True:
            try:
                number, item = next(iterator)
            except StopIteration:
                return
            except Exception as error:
                lines = str(error).strip().splitlines() or ["no reason given"]
                raise MptqError(
                    f"{self._what} raised {type(error).__name__} after item {number}: {lines[0]}; mend it, or give "
                    "other data"
                ) from error
            yield number, item

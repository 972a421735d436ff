"""What programs hand over as one image or one batch: tensors, tuples with labels, dictionaries, pictures, paths."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mptq_export.data.decode import read_picture
from mptq_export.data.images import UNREADABLE
from mptq_export.data.preprocessing import Preprocessing
from mptq_export.data.sources.source import Inputs
from mptq_export.data.values import SeenRange, as_numbers, check_size
from mptq_export.support.errors import MptqError

KEYS = ("pixel_values", "images", "image", "img")
"""Of a dictionary's entries the first that is there holds the images."""
_LABELS = ("labels", "label")
_SHOWN = 5


class ItemReader:
    """Reads items of any of these kinds.

    Attributes:
        labels: the labels that came with the images so far; None where something came that has none.
    """

    def __init__(self, preprocessing: Preprocessing, convert: Callable[[Image.Image], Inputs], *, exif: bool) -> None:
        """Nothing is read yet.

        Args:
            preprocessing: the model's; what is no picture must have its size.
            convert: a picture to the model's input.
            exif: whether files of images are turned as their EXIF orientation says.
        """
        self._preprocessing, self._convert, self._exif = preprocessing, convert, exif
        self.labels: set[int] | None = set()

    def inputs(self, item: Any, where: str) -> Inputs:
        """The model's inputs in an item.

        Args:
            item: an array or tensor of one input or a batch; a picture or a path of one; a list of those; a tuple or
                list whose first element is one of those; or a dictionary with one of `KEYS`.
            where: it came from, for messages.

        Returns:
            (inputs, channels, height, width) float32.

        Raises:
            MptqError: it is something else, or does not fit the model.
        """
        self._see_labels(item)
        return self._read(item, where, nested=False)

    def _read(self, item: Any, where: str, *, nested: bool) -> Inputs:
        if isinstance(item, Mapping):
            return self._read(_entry(item, where), where, nested=True)
        if isinstance(item, Image.Image):
            return self._convert(item)[None]
        if isinstance(item, str | Path):
            return self._convert(self._opened(Path(item), where))[None]
        if isinstance(item, tuple | list):
            return self._sequence(item, where, nested=nested)
        values = as_numbers(item, f"{where} is")
        values = values[None] if values.ndim == 3 else values
        advice = None if values.ndim == 4 else "give images, alone or first in a tuple"
        check_size(values, where, self._preprocessing, advice)
        SeenRange(values.shape[1]).look(values, where)
        return np.asarray(values, np.float32)

    def _sequence(self, item: tuple[Any, ...] | list[Any], where: str, *, nested: bool) -> Inputs:
        """Several images, or one thing with its labels."""
        if not item:
            raise MptqError(f"{where} is empty; give images")
        if _is_number(item):
            return self._read(_array_of(item, where), where, nested=True)
        pictures = all(isinstance(each, Image.Image | str | Path) for each in item)
        # A tuple of pictures is one with its mask, a list of them is a batch.
        several = pictures and (nested or isinstance(item, list))
        if several or (len(item) > 1 and all(self._is_input(each) for each in item)):
            return np.concatenate([self._read(each, where, nested=True) for each in item])
        return self._read(item[0], where, nested=True)

    def _is_input(self, each: Any) -> bool:
        return tuple(getattr(each, "shape", ())) == self._preprocessing.input_size

    def _opened(self, path: Path, where: str) -> Image.Image:
        try:
            return read_picture(path, exif=self._exif).image
        except UNREADABLE as error:
            raise MptqError(f"{where}: {path} cannot be read as an image ({error}); leave it out") from error

    def _see_labels(self, item: Any) -> None:
        """Remember labels that are whole numbers, one an image."""
        if self.labels is None:
            return
        given: Any = None
        if isinstance(item, Mapping):
            given = next((item[key] for key in _LABELS if key in item), None)
        elif isinstance(item, tuple | list) and len(item) > 1:
            given = item[1]
        values = as_numbers(given, "") if hasattr(given, "shape") else np.asarray(given)
        if values.ndim > 1 or not np.issubdtype(values.dtype, np.integer):
            self.labels = None
        else:
            self.labels |= {*values.reshape(-1).tolist()}


def _entry(item: Mapping[Any, Any], where: str) -> Any:
    """The images of a dictionary."""
    found = next((key for key in KEYS if key in item), None)
    if found is None or item[found] is None:
        has = ", ".join(map(str, list(item)[:_SHOWN])) or "nothing"
        raise MptqError(f"{where} is a dictionary of {has}, and of none of {', '.join(KEYS)}; give those images alone")
    return item[found]


def _is_number(item: Any) -> bool:
    """Whether lists in lists end in numbers: an array without NumPy."""
    while isinstance(item, list) and item:
        item = item[0]
    return isinstance(item, int | float)


def _array_of(item: Any, where: str) -> NDArray[Any]:
    try:
        return np.asarray(item, np.float32)
    except (ValueError, TypeError) as error:
        raise MptqError(f"{where} holds lists that are no array ({error}); give arrays or tensors") from error

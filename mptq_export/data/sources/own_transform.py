"""The caller's own way from an image to the model's input, and what is suspicious about it."""

from collections.abc import Callable
from threading import Lock
from typing import Any

import numpy as np
from PIL import Image

from mptq_export.data.pixel_range import range_problem
from mptq_export.data.preprocessing import PIL_MODES, Preprocessing
from mptq_export.data.sources.source import Inputs
from mptq_export.data.values import SeenRange, as_numbers, check_size
from mptq_export.support.errors import MptqError

_LOOKED_AT = 4
"""Images that are also prepared a second time, and as the model's preprocessing says."""
_FAR = 0.1
"""Mean distance to the model's own preprocessing, in standard deviations, from which on it is another one: filters of
resampling differ by a third of that."""


class OwnTransform:
    """A transform of torchvision's or timm's kind, checked at every call; it may be called from several threads.

    Attributes:
        name: what it is, for people.
    """

    def __init__(self, function: Callable[[Image.Image], Any], preprocessing: Preprocessing) -> None:
        """Nothing is called yet.

        Args:
            function: takes an image (RGB, or grey where the model has one channel), gives (channels, height, width)
                floats as an array or a tensor.
            preprocessing: the model's.

        Raises:
            MptqError: it cannot be called.
        """
        if not callable(function):
            raise MptqError(f"transform is a {type(function).__name__}, not a function of an image; leave it out")
        self.name = getattr(function, "__name__", type(function).__name__)
        self._function, self._preprocessing = function, preprocessing
        self._mode = PIL_MODES.get(preprocessing.input_size[0])
        self._lock, self._range = Lock(), SeenRange(preprocessing.input_size[0])
        self._random = False
        self._distances: list[float] = []

    def __call__(self, image: Image.Image) -> Inputs:
        """The model's input (channels, height, width) that an image becomes.

        Raises:
            MptqError: the function fails, or gives something else.
        """
        with self._lock:
            image = image if self._mode is None else image.convert(self._mode)
            values = self._called(image)
            self._range.look(values[None], f"what transform {self.name} gives")
            if len(self._distances) < _LOOKED_AT:
                self._random |= not np.array_equal(values, self._called(image))
                self._distances.append(self._distance(image, values))
            return values

    @property
    def called(self) -> bool:
        """Whether an image was given to it."""
        return bool(self._distances)

    def warnings(self, what: str) -> tuple[str, ...]:
        """What is suspicious of the inputs so far, a sentence each.

        Args:
            what: the images, for people.
        """
        found, how = [], self._preprocessing
        problem = range_problem(f"transform {self.name} of {what}", self._range.low, self._range.high, how)
        if problem is not None:
            found.append(f"{problem}; is the model's preprocessing the one that it was trained with?")
        elif self._distances and float(np.mean(self._distances)) > _FAR:
            _, height, width = how.input_size
            found.append(
                f"transform {self.name} gives other inputs than the model's own preprocessing ({width}x{height}, "
                f"{how.interpolation}, crop_pct {how.crop_pct:g}, crop_mode {how.crop_mode}), by "
                f"{np.mean(self._distances):.2f} standard deviations a value: whoever runs the file prepares images as "
                "its metadata says, which is the model's own"
            )
        if self._random:
            found.append(
                f"transform {self.name} is random: two calls on one image differ; calibrate without augmentation"
            )
        return tuple(found)

    def _called(self, image: Image.Image) -> Inputs:
        try:
            given = self._function(image.copy())
        except Exception as error:
            raise MptqError(
                f"transform {self.name} raised {type(error).__name__}: {_first_line(error)}; it must take a PIL image"
            ) from error
        values = as_numbers(given, f"transform {self.name} gives")
        check_size(values[None], f"what transform {self.name} gives", self._preprocessing)
        return np.asarray(values, np.float32)

    def _distance(self, image: Image.Image, values: Inputs) -> float:
        """Mean absolute difference to what the model's preprocessing gives; 0 where that takes no pictures."""
        if self._mode is None:
            return 0.0
        usual = self._preprocessing.normalize(self._preprocessing.transform_uint8(image)[None])[0]
        return float(np.abs(usual - values).mean())


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else "no reason given"

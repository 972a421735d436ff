"""The images that an export is compared with float on: the same for every export of a checkpoint, and held back."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mptq_export.data.arrays import ARRAY_SUFFIXES, open_inputs
from mptq_export.data.images import ImageFolder, spread
from mptq_export.data.preprocessing import Preprocessing
from mptq_export.data.reading import USUAL, Reading
from mptq_export.data.synthetic import draw_leaves

#: Calibration takes seed 0.
_SEED = 1

#: So many images that were held back say more than many that the quantizers were fitted to.
_ENOUGH = 16


@dataclass(frozen=True)
class FixedImages:
    """Inputs that depend on the source alone, as far as they can without being those that were calibrated on.

    Attributes:
        count: how many there are.
        description: what they are, for people.
        calibrated: how many of them the export was calibrated on; the others were held back.
        rows: one (channels, height, width) float32 input at a time, once.
    """

    count: int
    description: str
    calibrated: int
    rows: Iterator[NDArray[np.float32]]

    def batches(self, size: int) -> Iterator[NDArray[np.float32]]:
        """All inputs in batches; the last one may be smaller."""
        while batch := list(islice(self.rows, size)):
            yield np.stack(batch)


def open_fixed(
    path: Path | None, preprocessing: Preprocessing, count: int, *, calibrated: int, reading: Reading = USUAL
) -> FixedImages:
    """Choose inputs of a calibration source, as `choose_fixed`.

    Args:
        path: what `open_calibration` takes: a folder of images, or a file of inputs; None for synthetic images.
        preprocessing: the model's.
        count: at most so many.
        calibrated: at most so many inputs of it were calibrated on.
        reading: how calibration took the data; how many images were left out was judged there.

    Raises:
        MptqError: nothing usable is there.
    """
    if path is None:
        channels, height, width = preprocessing.input_size
        drawn = (image[None, :height, :width, :channels] for image in draw_leaves(count, max(height, width), _SEED))
        rows = (preprocessing.normalize(image)[0] for image in drawn)
        return FixedImages(count, f"{count} synthetic images (dead leaves, seed {_SEED})", 0, rows)
    if path.suffix in ARRAY_SUFFIXES and not path.is_dir():
        array = open_inputs(path, preprocessing, any_range=reading.any_range).values
        return fixed_inputs(array, str(path), count, calibrated=calibrated)
    opened = partial(ImageFolder, path, preprocessing, labels=False, exif=reading.exif, allow_skipped=True)
    return fixed_pictures(
        opened,
        count,
        convert=lambda image: preprocessing.normalize(preprocessing.transform_uint8(image)[None])[0],
        calibrated=calibrated,
    )


def fixed_inputs(values: NDArray[Any], what: str, count: int, *, calibrated: int) -> FixedImages:
    """The same of inputs that were prepared already.

    Args:
        values: (inputs, channels, height, width) of a float type.
        what: they are, for people.
        count: at most so many.
        calibrated: at most so many of them were calibrated on.
    """
    chosen, seen = choose_fixed(len(values), count, calibrated)
    rows = (np.asarray(values[index], np.float32) for index in chosen)
    return FixedImages(len(chosen), f"{len(chosen)} of {len(values)} inputs of {what}", seen, rows)


def fixed_pictures(
    opened: Callable[[], ImageFolder],
    count: int,
    *,
    convert: Callable[[Image.Image], NDArray[np.float32]],
    calibrated: int,
) -> FixedImages:
    """The same of images that are opened and converted in a way of their own.

    Args:
        opened: gives all of them.
        count: at most so many.
        convert: a decoded image to the model's input.
        calibrated: at most so many of them were calibrated on.

    Raises:
        MptqError: nothing usable is there.
    """
    folder = opened()
    every, (chosen, _) = folder.files, choose_fixed(len(folder.files), count, calibrated)
    folder.files = [every[index] for index in chosen]
    # Few enough to be held: what cannot be read is known before anything is said of them.
    inputs = list(folder.converted(convert))
    what = f"{len(inputs)} of {len(every)} images of {folder.path}"
    what += f" ({len(folder.skipped)} more cannot be read)" if folder.skipped else ""
    seen = len({*folder.files} & {*spread(every, calibrated)})
    return FixedImages(len(inputs), what, seen, iter(inputs))


def choose_fixed(total: int, count: int, calibrated: int) -> tuple[list[int], int]:
    """Choose among so many, evenly spread.

    Calibration on n takes those at i / n of them, and this those at (j + 1/3) / count: the two meet only where n has a
    factor of 3, or where there are few. Where they meet, those that calibration left are chosen from alone, if they are
    enough.

    Returns:
        Indices, and how many of them calibration took as well.
    """
    taken = {*spread(range(total), calibrated)}
    chosen = _thirds(range(total), count)
    if taken.isdisjoint(chosen):
        return chosen, 0
    left = [index for index in range(total) if index not in taken]
    if len(left) >= min(count, _ENOUGH):
        return _thirds(left, count), 0
    return chosen, len(taken.intersection(chosen))


def _thirds(indices: Sequence[int], count: int) -> list[int]:
    """Those at (j + 1/3) / count; all of them when there are not more."""
    total = len(indices)
    return [indices[(3 * j + 1) * total // (3 * count)] for j in range(count)] if count < total else list(indices)

"""What a model is calibrated on: a folder of images, a file of inputs, or synthetic images."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mptq_export.data.arrays import ARRAY_SUFFIXES, open_inputs
from mptq_export.data.images import ImageFolder, spread
from mptq_export.data.preprocessing import Preprocessing
from mptq_export.data.synthetic import draw_leaves
from mptq_export.errors import MptqError

_CACHED = 256
"""Images whose pixels stay in memory (38 MB at 224x224), so that a second pass does not decode them again."""

Pixels = NDArray[np.uint8]
Inputs = NDArray[np.float32]


@dataclass(frozen=True)
class CalibrationSource:
    """Model inputs that can be read any number of times, in the same order.

    Attributes:
        count: number of inputs.
        description: what they are, for people.
        warnings: what the user should know, a sentence each.
        read: starts a pass; yields one (channels, height, width) float32 input at a time.
        classes: names of the folders that the images lie in, sorted; empty where there are none.
    """

    count: int
    description: str
    warnings: tuple[str, ...]
    read: Callable[[], Iterator[Inputs]]
    classes: tuple[str, ...] = ()

    def batches(self, size: int) -> Iterator[Inputs]:
        """All inputs in batches.

        Args:
            size: inputs a batch; the last one may be smaller.

        Yields:
            (inputs, channels, height, width) float32.
        """
        inputs = self.read()
        while batch := list(islice(inputs, size)):
            yield np.stack(batch)


def open_calibration(
    path: Path | None, preprocessing: Preprocessing, *, count: int, seed: int = 0
) -> CalibrationSource:
    """Open calibration data and check all of it.

    Args:
        path: a folder of images, or an ``.npy`` or ``.npz`` of preprocessed inputs; None for synthetic images.
        preprocessing: the model's.
        count: at most so many inputs, spread evenly over the folder or file.
        seed: of the synthetic images.

    Raises:
        MptqError: nothing usable is there.
    """
    if path is None:
        preprocessing.check_pictures()
        return _synthetic(preprocessing, count, seed)
    if path.suffix in ARRAY_SUFFIXES and not path.is_dir():
        return _from_arrays(path, preprocessing, count)
    if path.is_file():
        raise MptqError(f"{path} is neither a folder of images nor one of {', '.join(ARRAY_SUFFIXES)}")
    preprocessing.check_pictures()
    return _from_folder(path, preprocessing, count)


def _from_folder(path: Path, preprocessing: Preprocessing, count: int) -> CalibrationSource:
    folder = ImageFolder(path, preprocessing, limit=count, labels=False)
    # The first pass also finds the corrupt images.
    first_pass = folder.images()
    cache = list(islice(first_pass, _CACHED))
    for _ in first_pass:
        pass
    warnings: tuple[str, ...] = ()
    if folder.skipped:
        warnings = (f"skipped {len(folder.skipped)} corrupt images of {path} (first: {folder.skipped[0]})",)
    return CalibrationSource(
        count=len(folder),
        description=f"{len(folder)} images of {path}",
        warnings=warnings,
        read=_reader(preprocessing, cache, folder.images),
        classes=folder.classes,
    )


def _synthetic(preprocessing: Preprocessing, count: int, seed: int) -> CalibrationSource:
    channels, height, width = preprocessing.input_size

    def draw(start: int = 0) -> Iterator[Pixels]:
        for image in draw_leaves(count, max(height, width), seed, start):
            yield image[:height, :width, :channels]

    return CalibrationSource(
        count=count,
        description=f"{count} synthetic images (dead leaves, seed {seed})",
        warnings=(
            "calibrated on synthetic images, so accuracy suffers: little at 8 bits, by points at few bits "
            "(docs/benchmarks.md); give real ones with --calib DIR (a hundred do)",
        ),
        read=_reader(preprocessing, list(islice(draw(), _CACHED)), draw),
    )


def _reader(
    preprocessing: Preprocessing, cache: list[Pixels], images: Callable[[int], Iterator[Pixels]]
) -> Callable[[], Iterator[Inputs]]:
    """Passes over the cached images and then over those that `images` gives from an index on."""

    def read() -> Iterator[Inputs]:
        for pixels in chain(cache, images(len(cache))):
            yield preprocessing.normalize(pixels[None])[0]

    return read


def _from_arrays(path: Path, preprocessing: Preprocessing, count: int) -> CalibrationSource:
    array = open_inputs(path, preprocessing.input_size)
    chosen = spread(range(len(array)), count)

    def read() -> Iterator[Inputs]:
        for index in chosen:
            yield np.asarray(array[index], np.float32)

    return CalibrationSource(len(chosen), f"{len(chosen)} inputs of {path}", (), read)

"""What a model is calibrated on: a folder of images, a file of inputs, or synthetic images."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mptq_export.data.arrays import ARRAY_SUFFIXES, open_inputs
from mptq_export.data.classes import Folder
from mptq_export.data.images import ImageFolder, spread
from mptq_export.data.preprocessing import Preprocessing
from mptq_export.data.reading import USUAL, Reading
from mptq_export.data.suspicions import Suspicions
from mptq_export.data.synthetic import draw_leaves
from mptq_export.support.errors import MptqError

_CACHED = 256
"""Images whose pixels stay in memory (38 MB at 224x224), so that a second pass does not decode them again."""
_FEW = 16
"""Fewer inputs than this give poor ranges."""
_SEED = 0
"""Of the synthetic images."""

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
        folders: the folders that hold images, relative to the data's, a name a level; empty where there are none.
        skipped: how many images were left out.
    """

    count: int
    description: str
    warnings: tuple[str, ...]
    read: Callable[[], Iterator[Inputs]]
    folders: tuple[Folder, ...] = ()
    skipped: int = 0

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
    path: Path | None,
    preprocessing: Preprocessing,
    *,
    count: int,
    reading: Reading = USUAL,
) -> CalibrationSource:
    """Open calibration data and check all of it.

    Args:
        path: a folder of images, or an ``.npy`` or ``.npz`` of preprocessed inputs; None for synthetic images.
        preprocessing: the model's.
        count: at most so many inputs, spread evenly over the folder or file.
        reading: how the data is to be taken, where not as usual.

    Raises:
        MptqError: nothing usable is there, or the reading does not belong to data of this kind.
    """
    _check_reading(path, reading)
    if path is None:
        preprocessing.check_pictures()
        source = _synthetic(preprocessing, count)
    elif _is_array(path):
        source = _from_arrays(path, preprocessing, count, reading)
    elif path.is_file():
        raise MptqError(f"{path} is neither a folder of images nor one of {', '.join(ARRAY_SUFFIXES)}")
    else:
        preprocessing.check_pictures()
        source = _from_folder(path, preprocessing, count, reading)
    if path is None or source.count >= _FEW:
        return source
    few = f"calibrated on {source.count} inputs only: ranges are poor with fewer than {_FEW}; a hundred do"
    return replace(source, warnings=(*source.warnings, few))


def _is_array(path: Path) -> bool:
    return path.suffix in ARRAY_SUFFIXES and not path.is_dir()


def _check_reading(path: Path | None, reading: Reading) -> None:
    of_arrays = path is not None and _is_array(path)
    wrong = [option for option in reading.options if (option == "--any-range") != of_arrays or path is None]
    if wrong:
        wants = "an array (.npy, .npz)" if wrong[0] == "--any-range" else "a folder of images"
        raise MptqError(f"{wrong[0]} belongs to --calib with {wants}; leave it out")


def _from_folder(path: Path, preprocessing: Preprocessing, count: int, reading: Reading) -> CalibrationSource:
    folder = ImageFolder(
        path, preprocessing, limit=count, labels=False, exif=reading.exif, allow_skipped=reading.allow_skipped
    )
    # The first pass also finds the images that cannot be read.
    suspicions, cache = Suspicions(), list[Pixels]()
    for pixels in folder.images():
        suspicions.look(pixels)
        if len(cache) < _CACHED:
            cache.append(pixels)
    what = f"{len(folder)} images of {path}"
    return CalibrationSource(
        count=len(folder),
        description=what + (", turned by EXIF" if reading.exif else ""),
        warnings=(*folder.warnings, *suspicions.warnings(what)),
        read=_reader(preprocessing, cache, folder.images),
        folders=folder.folders,
        skipped=len(folder.skipped),
    )


def _synthetic(preprocessing: Preprocessing, count: int) -> CalibrationSource:
    channels, height, width = preprocessing.input_size

    def draw(start: int = 0) -> Iterator[Pixels]:
        for image in draw_leaves(count, max(height, width), _SEED, start):
            yield image[:height, :width, :channels]

    return CalibrationSource(
        count=count,
        description=f"{count} synthetic images (dead leaves, seed {_SEED})",
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


def _from_arrays(path: Path, preprocessing: Preprocessing, count: int, reading: Reading) -> CalibrationSource:
    inputs = open_inputs(path, preprocessing, any_range=reading.any_range)
    chosen = spread(range(len(inputs.values)), count)

    def read() -> Iterator[Inputs]:
        for index in chosen:
            yield np.asarray(inputs.values[index], np.float32)

    suspicions = Suspicions()
    for values in read():
        suspicions.look(values.transpose(1, 2, 0))
    what = f"{len(chosen)} inputs of {path}"
    warnings = suspicions.warnings(what)
    if inputs.others and inputs.name != "images":
        warnings = (f"{path} holds {', '.join((str(inputs.name), *inputs.others))}: {inputs.name} was taken", *warnings)
    return CalibrationSource(len(chosen), what + (f", array {inputs.name}" if inputs.name else ""), warnings, read)

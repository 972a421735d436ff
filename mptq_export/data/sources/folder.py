"""Images out of a folder, or of a list of files, to calibrate on."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mptq_export.data.comparison_images import fixed_pictures
from mptq_export.data.images import ImageFolder
from mptq_export.data.preprocessing import Preprocessing
from mptq_export.data.reading import Reading
from mptq_export.data.sources.own_transform import OwnTransform
from mptq_export.data.sources.source import CalibrationSource, Inputs
from mptq_export.data.suspicions import Suspicions

CACHED = 256
"""Images whose pixels stay in memory (38 MB at 224x224), so that a second pass does not decode them again."""


def from_folder(
    path: Path,
    preprocessing: Preprocessing,
    count: int,
    reading: Reading,
    *,
    files: Sequence[Path] | None = None,
    transform: OwnTransform | None = None,
) -> CalibrationSource:
    """Images as pixels, which are normalised anew in every pass, or as what the caller's transform makes of them.

    Args:
        path: the folder.
        preprocessing: the model's.
        count: at most so many images, spread evenly.
        reading: how they are read, where not as usual.
        files: the images, in order; None for all below the folder.
        transform: the caller's own; None for the model's preprocessing.

    Raises:
        MptqError: there are no images, too many cannot be read, or the transform does not give the model's input.
    """
    if transform is None:
        preprocessing.check_pictures()
    to_input = normalised(preprocessing)
    opened = partial(ImageFolder, path, preprocessing, labels=False, exif=reading.exif, files=files)
    folder = opened(limit=count, allow_skipped=reading.allow_skipped)
    convert = preprocessing.transform_uint8 if transform is None else transform

    def images(start: int = 0) -> Iterator[NDArray[Any]]:
        return folder.converted(convert, start)

    # The first pass also finds the images that cannot be read.
    suspicions, cache = Suspicions(), list[NDArray[Any]]()
    for values in images():
        suspicions.look(values if transform is None else values.transpose(1, 2, 0))
        if len(cache) < CACHED:
            cache.append(values)
    what = f"{len(folder)} images of {path}" + (" (a list of files)" if files is not None else "")
    turned = ", turned by EXIF" if reading.exif else ""
    own = () if transform is None else transform.warnings(what)
    return CalibrationSource(
        count=len(folder),
        description=what + turned + (f", prepared by {transform.name}" if transform else ""),
        warnings=(*folder.warnings, *suspicions.warnings(what), *own),
        read=reader(to_input if transform is None else _as_it_is, cache, images),
        comparison=partial(
            fixed_pictures,
            partial(opened, allow_skipped=True),
            convert=transform or (lambda image: to_input(preprocessing.transform_uint8(image))),
            calibrated=count,
        ),
        folders=folder.folders if files is None else (),
        skipped=len(folder.skipped),
        files=tuple(folder.files),
        available=folder.found,
    )


def reader(
    to_input: Callable[[NDArray[Any]], Inputs],
    cache: list[NDArray[Any]],
    images: Callable[[int], Iterator[NDArray[Any]]],
) -> Callable[[], Iterator[Inputs]]:
    """Passes over the cached images and then over those that `images` gives from an index on.

    Args:
        to_input: what is held of an image to the model's input.
        cache: the first images.
        images: the others.
    """

    def read() -> Iterator[Inputs]:
        return map(to_input, chain(cache, images(len(cache))))

    return read


def normalised(preprocessing: Preprocessing) -> Callable[[NDArray[Any]], Inputs]:
    """From the pixels of an image to the model's input."""
    return lambda pixels: preprocessing.normalize(pixels[None])[0]


def _as_it_is(values: NDArray[Any]) -> Inputs:
    return values

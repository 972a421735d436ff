"""A folder of images as batches of pixels."""

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mptq_export.data.preprocessing import Preprocessing
from mptq_export.errors import MptqError

Pixels = NDArray[np.uint8]

_EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".gif")
_THREADS = 4
_AHEAD = 4 * _THREADS
_UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError)
"""What Pillow raises on files that are not the images they claim to be."""

_logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")


class ImageFolder:
    """The images of a folder and of its subfolders, sorted by path.

    A corrupt image is left out with a warning in the log, and listed in `skipped`.

    Attributes:
        path: the folder.
        files: the images that were chosen, in order, without those that were found to be corrupt.
        classes: names of the sorted folders on the first level; empty where an image lies in none.
        labels: (images,) int64 index into `classes` of each of `files`; None without labels.
        skipped: the corrupt images found so far.
    """

    def __init__(self, path: Path, preprocessing: Preprocessing, *, limit: int | None = None, labels: bool) -> None:
        """List the images; none is kept in memory.

        Args:
            path: a folder of images, flat or nested.
            preprocessing: how an image becomes pixels of the model's size.
            limit: at most so many images, spread evenly over the sorted list so that they cover its classes.
            labels: whether the first level of folders are the classes. Every image is then decoded once here,
                so that `labels` is final from the start.

        Raises:
            MptqError: the folder is missing, unreadable or holds no images; with labels also when an image lies
                outside the class folders, or all images are corrupt.
        """
        self.path = path
        self.labels: NDArray[np.int64] | None = None
        self.skipped: list[Path] = []
        self._preprocessing = preprocessing
        found = _list_images(path)
        parts = [file.relative_to(path).parts for file in found]
        self.classes = tuple(sorted({part[0] for part in parts})) if all(len(part) > 1 for part in parts) else ()
        self.files = found if limit is None else spread(found, limit)
        if labels:
            self._label(found)

    def __len__(self) -> int:
        return len(self.files)

    def batches(self, size: int) -> Iterator[Pixels]:
        """Decode, resize and crop, with a few threads and never more than a few images ahead.

        Args:
            size: images a batch; the last one may be smaller.

        Yields:
            (images, height, width, channels) pixels, in the order of `files`.

        Raises:
            MptqError: every image is corrupt.
        """
        images = self.images()
        while batch := list(islice(images, size)):
            yield np.stack(batch)

    def images(self, start: int = 0) -> Iterator[Pixels]:
        """As `batches`, one (height, width, channels) image at a time, from the one with index `start` on."""
        return self._readable(self._pixels, start)

    def _pixels(self, file: Path) -> Pixels:
        with Image.open(file) as image:
            return self._preprocessing.transform_uint8(image)

    def _readable(self, read: Callable[[Path], Result], start: int = 0) -> Iterator[Result]:
        good = self.files[:start]
        for file, result in _in_order(self.files[start:], read):
            try:
                value = result.result()
            except _UNREADABLE as error:
                self.skipped.append(file)
                _logger.warning("skipped corrupt image %s (%s)", file, error)
            else:
                good.append(file)
                yield value
        self.files = good
        if not good:
            raise MptqError(
                f"none of the {len(self.skipped)} images in {self.path} can be decoded (first: {self.skipped[0]}); "
                "name a folder of readable images"
            )

    def _label(self, found: list[Path]) -> None:
        if not self.classes:
            stray = next(file for file in found if len(file.relative_to(self.path).parts) < 2)
            raise MptqError(f"{stray} lies in no class folder; {self.path} must hold one folder of images a class")
        for _ in self._readable(_decode):
            pass
        index = {name: number for number, name in enumerate(self.classes)}
        self.labels = np.array([index[file.relative_to(self.path).parts[0]] for file in self.files], np.int64)


def _decode(file: Path) -> None:
    with Image.open(file) as image:
        image.load()


def _in_order(files: Iterable[Path], read: Callable[[Path], Result]) -> Iterator[tuple[Path, Future[Result]]]:
    """Read files in parallel, at most `_AHEAD` of them in flight, and hand them on in order."""
    with ThreadPoolExecutor(_THREADS) as pool:
        waiting: deque[tuple[Path, Future[Result]]] = deque()
        try:
            for file in files:
                waiting.append((file, pool.submit(read, file)))
                if len(waiting) >= _AHEAD:
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()
        finally:
            for _, result in waiting:
                result.cancel()


def _list_images(path: Path) -> list[Path]:
    if not path.exists():
        raise MptqError(f"image folder {path} does not exist; check the path")
    if not path.is_dir():
        raise MptqError(f"{path} is not a folder; name a folder of images")

    def refuse(error: OSError) -> None:
        raise MptqError(f"cannot read image folder {error.filename}: {error.strerror}; check its permissions")

    found = [
        Path(folder, name)
        for folder, _, names in os.walk(path, onerror=refuse, followlinks=True)
        for name in names
        if name.lower().endswith(_EXTENSIONS) and not name.startswith(".")
    ]
    if not found:
        raise MptqError(f"no images in {path} ({', '.join(_EXTENSIONS)}); name a folder that holds some")
    return sorted(found)


def spread(items: Sequence[Item], limit: int) -> list[Item]:
    """`limit` of the items at equal distances; all of them when there are not more."""
    count = min(limit, len(items))
    return [items[index * len(items) // count] for index in range(count)]

"""A folder of images as batches of pixels."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from mptq_export.data.class_names import ClassNames
from mptq_export.data.classes import FolderNumbering, number_folders
from mptq_export.data.decode import Picture, read_picture
from mptq_export.data.image_files import find_images
from mptq_export.data.preprocessing import Preprocessing
from mptq_export.support.errors import MptqError

Pixels = NDArray[np.uint8]

_THREADS = 4
_AHEAD = 4 * _THREADS
UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError)
"""What Pillow raises on files that are not the images they claim to be."""

_MOST_SKIPPED = 0.1
_MANY_TURNED = 0.1
_MUCH_SMALLER = 1 / 3
_SHOWN = 3

_logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Seen(NamedTuple):
    """What is remembered of an image that was read."""

    width: int
    height: int
    turned: bool
    masklike: bool


class ImageFolder:
    """The images of a folder and of its subfolders, sorted by path (see `image_files.find_images`).

    An image that cannot be decoded is left out, and listed in `skipped`.

    Attributes:
        path: the folder.
        preprocessing: how an image becomes pixels.
        files: the images that were chosen, in order, without those that were found to be unreadable.
        folders: the folders that hold images, relative to `path`, a name a level.
        numbering: which logit each of them is; None without labels.
        labels: (images,) int64 number of the logit of each of `files`; None without labels.
        skipped: the images that were left out so far, and why.
        found: how many there are, before any limit.
    """

    def __init__(
        self,
        path: Path,
        preprocessing: Preprocessing,
        *,
        limit: int | None = None,
        labels: bool,
        names: ClassNames | None = None,
        logits: int | None = None,
        exif: bool = False,
        allow_skipped: bool = False,
        files: Sequence[Path] | None = None,
    ) -> None:
        """List the images; none is kept in memory.

        Args:
            path: a folder of images, flat or nested; of `files` one that they all lie below.
            preprocessing: how an image becomes pixels of the model's size.
            limit: at most so many images, spread evenly over the sorted list so that they cover its classes.
            labels: whether folders are the classes. Every image is then decoded once here, so that `labels` is final
                from the start.
            names: of the classes, where they are known; else folders are numbered in timm's order.
            logits: how many the model has, where that is known.
            exif: whether images are turned as their EXIF orientation says; timm does not.
            allow_skipped: whether more than a tenth of the images may be left out.
            files: the images, in this order; None looks for them.

        Raises:
            MptqError: the folder is missing, unreadable or holds no images; with labels also when an image lies
                outside the class folders, a folder's logit cannot be told, or too many images are left out.
        """
        self.path = path
        self.labels: NDArray[np.int64] | None = None
        self.numbering: FolderNumbering | None = None
        self.preprocessing = preprocessing
        self._exif, self._allow_skipped = exif, allow_skipped
        found = find_images(path) if files is None else list(files)
        self.folders = tuple(dict.fromkeys(self._folder(file) for file in found))
        self.found = len(found)
        self.files = found if limit is None else spread(found, limit)
        self.skipped: dict[Path, str] = {}
        self._asked = len(self.files)
        self._seen: dict[Path, _Seen] = {}
        if labels:
            self._label(names, logits)

    def __len__(self) -> int:
        return len(self.files)

    @property
    def turned(self) -> int:
        """How many of the images read so far have an EXIF orientation of their own."""
        return sum(seen.turned for seen in self._seen.values())

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know about the images read so far, a sentence each."""
        seen, notes = self._seen.values(), list(self.numbering.warnings if self.numbering else ())
        if self.skipped:
            notes.append(f"left out {len(self.skipped)} of {self._asked} images of {self.path} ({self._reasons()})")
        if not self._exif and self.turned > _MANY_TURNED * len(seen):
            notes.append(
                f"{self.turned} of {len(seen)} images of {self.path} have an EXIF orientation, ignored as in timm; "
                "--exif turns them"
            )
        _, height, width = self.preprocessing.input_size
        if seen and all(max(each.width / width, each.height / height) < _MUCH_SMALLER for each in seen):
            w, h = max((each.width, each.height) for each in seen)
            notes.append(f"the images of {self.path} are small ({w}x{h}), the model takes {width}x{height}: enlarged")
        if seen and all(each.masklike for each in seen):
            notes.append(f"all images of {self.path} are palettes of few colours: label masks?")
        return tuple(notes)

    def batches(self, size: int) -> Iterator[Pixels]:
        """Decode, resize and crop, with a few threads and never more than a few images ahead.

        Args:
            size: images a batch; the last one may be smaller.

        Yields:
            (images, height, width, channels) pixels, in the order of `files`.

        Raises:
            MptqError: too many images cannot be decoded, or the range of one is not known.
        """
        images = self.images()
        while batch := list(islice(images, size)):
            yield np.stack(batch)

    def images(self, start: int = 0) -> Iterator[Pixels]:
        """As `batches`, one (height, width, channels) image at a time, from the one with index `start` on."""
        return self.converted(self.preprocessing.transform_uint8, start)

    def converted(self, convert: Callable[[Image.Image], Result], start: int = 0) -> Iterator[Result]:
        """As `images`, with what becomes of a decoded image said by the caller; it is called from several threads."""
        for _, value in self.with_files(lambda _file, image: convert(image), start):
            yield value

    def with_files(
        self, convert: Callable[[Path, Image.Image], Result], start: int = 0
    ) -> Iterator[tuple[Path, Result]]:
        """As `converted`, with the file of each image; one that `convert` raises a ValueError of is left out."""

        def read(file: Path) -> tuple[Picture, Result]:
            picture = read_picture(file, exif=self._exif)
            return picture, convert(file, picture.image)

        good = self.files[:start]
        for file, result in _in_order(self.files[start:], read):
            try:
                picture, value = result.result()
            except UNREADABLE as error:
                self.skipped[file] = _reason(error)
                _logger.warning("left out %s (%s)", file, error)
            else:
                good.append(file)
                self._seen[file] = _Seen(*picture.image.size, picture.turned, picture.masklike)
                yield file, value
        self.files = good
        self._check_skipped()

    def _check_skipped(self) -> None:
        """Refuse to go on with what is left of a folder.

        Raises:
            MptqError: nothing is left, or more than a tenth is left out and that was not allowed.
        """
        if not self.files:
            raise MptqError(
                f"none of the {self._asked} images in {self.path} can be decoded ({self._reasons()}); name a folder of "
                "readable images"
            )
        if len(self.skipped) > _MOST_SKIPPED * self._asked and not self._allow_skipped:
            raise MptqError(
                f"{len(self.skipped)} of {self._asked} images of {self.path} cannot be used, more than a tenth "
                f"({self._reasons()}); mend or remove them, or pass --allow-skipped"
            )

    def _reasons(self) -> str:
        named = [f"{file.relative_to(self.path)}: {why}" for file, why in islice(self.skipped.items(), _SHOWN)]
        return "; ".join(named) + ("; ..." if len(self.skipped) > _SHOWN else "")

    def _folder(self, file: Path) -> tuple[str, ...]:
        return file.relative_to(self.path).parts[:-1]

    def _label(self, names: ClassNames | None, logits: int | None) -> None:
        self.numbering = number_folders(self.path, self.folders, names, logits)
        for _ in self.converted(lambda _image: None):
            pass
        self.labels = np.array([self.numbering.labels[self._folder(file)] for file in self.files], np.int64)


def _reason(error: BaseException) -> str:
    """Why an image cannot be decoded, without its path."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image that Pillow reads"
    return str(getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__)


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


def spread(items: Sequence[Item], limit: int) -> list[Item]:
    """`limit` of the items at equal distances; all of them when there are not more."""
    count = min(limit, len(items))
    return [items[index * len(items) // count] for index in range(count)]

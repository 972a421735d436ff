"""Label maps beside pictures: a number of a class for every pixel."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mptq_export.data.image_files import find_images
from mptq_export.support.errors import MptqError

LabelMap = NDArray[np.int64]
"""(height, width)."""

_SUFFIX = ".png"
_FOLDERS = ("labels", "annotations", "masks")
_PICTURES = "images"
_INDEXED = ("P", "L", "1", "I", "I;16", "I;16B", "I;16L")
"""Pillow's modes of pictures with one number a pixel."""


@dataclass(frozen=True)
class LabelledPictures:
    """Pictures and their label maps.

    Attributes:
        folder: that the pictures lie below.
        files: of them, sorted by path.
        maps: the label map of each picture that has one.
        where: where label maps were looked for, for people.
    """

    folder: Path
    files: tuple[Path, ...]
    maps: dict[Path, Path]
    where: str

    @property
    def without(self) -> tuple[Path, ...]:
        """Pictures that have no label map."""
        return tuple(file for file in self.files if file not in self.maps)


def find_label_maps(data: Path, given: Path | None) -> LabelledPictures:
    """Find pictures and label maps: PNG files that are called as the pictures are.

    They lie in the folder that is given, by the same paths as the pictures below theirs; or in `labels`, `annotations`
    or `masks` next to a folder `images`; or beside the pictures, where these are no PNG files.

    Args:
        data: the folder that the user named.
        given: the folder of the label maps, where the user says it.

    Raises:
        MptqError: a folder is missing, or there are no pictures.
    """
    if given is not None:
        if not given.is_dir():
            raise MptqError(f"--annotations {given} is no folder; name the folder of the label maps")
        inside = data / _PICTURES
        return _by_path(inside if inside.is_dir() and not (given / _PICTURES).is_dir() else data, given)
    beside = next((data / name for name in _FOLDERS if (data / name).is_dir()), None)
    if beside is not None and (data / _PICTURES).is_dir():
        return _by_path(data / _PICTURES, beside)
    found = find_images(data)
    pictures = tuple(file for file in found if file.suffix.lower() != _SUFFIX)
    maps = {file: other for file in pictures if (other := file.with_suffix(_SUFFIX)).is_file()}
    return LabelledPictures(data, pictures if maps else tuple(found), maps, f"beside the pictures of {data}")


def _by_path(pictures: Path, maps: Path) -> LabelledPictures:
    files = tuple(find_images(pictures))
    places = {file: (maps / file.relative_to(pictures)).with_suffix(_SUFFIX) for file in files}
    return LabelledPictures(
        pictures, files, {file: place for file, place in places.items() if place.is_file()}, f"in {maps}"
    )


def read_label_map(path: Path) -> LabelMap:
    """The numbers of a label map: of a palette the indices, never its colours.

    Raises:
        MptqError: it holds colours.
        OSError, ValueError, SyntaxError, EOFError, PIL.Image.DecompressionBombError: it cannot be decoded.
    """
    with Image.open(path) as image:
        if image.mode not in _INDEXED:
            raise MptqError(
                f"label map {path} holds colours ({image.mode}), not a number for each pixel; save it as a PNG of the "
                "classes' numbers"
            )
        image.load()
        return np.asarray(image).astype(np.int64)


def check_size(file: Path, size: tuple[int, int], labels: LabelMap) -> None:
    """Refuse a label map of another size than its picture.

    Raises:
        ValueError: it is; a reason to leave the picture out.
    """
    if labels.shape != size:
        raise ValueError(f"it is {size[1]}x{size[0]}, its label map {labels.shape[1]}x{labels.shape[0]}")


def classes_of(
    path: Path, labels: LabelMap, *, classes: int, first: int, ignore: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The class of every pixel, and which pixels have one.

    Args:
        path: of the label map, for messages.
        labels: (height, width).
        classes: how many the model has.
        first: the number of the model's first class; lower ones are no class.
        ignore: the number that stands for no class.

    Raises:
        MptqError: a number is that of no class of the model.
    """
    known = (labels != ignore) & (labels >= first)
    found = np.where(known, labels - first, 0)
    if found.max(initial=0) >= classes:
        value = int(found.max()) + first
        shift = " (--first-label 1, where 0 stands for no class)" if value == classes and not first else ""
        raise MptqError(
            f"label map {path} holds {value}, and the model's {classes} classes are {first} to {first + classes - 1}; "
            f"name what stands for no class with --ignore, or the first class with --first-label{shift}"
        )
    return found, known

"""The pictures that a segmentation is evaluated on, with the classes of their pixels."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mptq_export.data.images import UNREADABLE, ImageFolder, spread
from mptq_export.data.label_maps import check_size, classes_of, find_label_maps, read_label_map
from mptq_export.data.placement import Placement
from mptq_export.data.preprocessing import Preprocessing
from mptq_export.evaluate.request import EvalRequest
from mptq_export.runtime.pixels import Pixels
from mptq_export.support.errors import MptqError
from mptq_export.support.progress import Progress, tracked

_SHOWN = 3
_MOST_WITHOUT = 0.1


@dataclass(frozen=True)
class Labels:
    """What label maps hold.

    Attributes:
        maps: of each picture; empty without label maps.
        classes: how many the model has.
        first: number of the model's first class.
        ignore: number that stands for no class.
    """

    maps: dict[Path, Path]
    classes: int
    first: int
    ignore: int

    def of(self, file: Path, size: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The class of every pixel of a picture (height, width), and which pixels have one.

        Raises:
            MptqError: a number is that of no class of the model, or there are colours.
            ValueError, OSError, SyntaxError, EOFError: the label map cannot be used.
        """
        path = self.maps[file]
        labels = read_label_map(path)
        check_size(file, size, labels)
        return classes_of(path, labels, classes=self.classes, first=self.first, ignore=self.ignore)

    def check(self, files: tuple[Path, ...], progress: Progress) -> None:
        """Read all label maps before anything is computed.

        Raises:
            MptqError: one holds numbers that are no classes, or colours.
        """
        for file in tracked(files, progress, "reading label maps", len(files)):
            path = self.maps[file]
            try:
                labels = read_label_map(path)
            except UNREADABLE:
                continue  # it is left out, and told, when its picture is read
            classes_of(path, labels, classes=self.classes, first=self.first, ignore=self.ignore)


@dataclass(frozen=True)
class Labelled:
    """A picture as a model takes it.

    Attributes:
        pixels: (height, width, channels) of the input.
        placement: where the picture lies in it.
        classes: (height, width) of the picture, and which pixels have one; None without label maps.
    """

    pixels: Pixels
    placement: Placement
    classes: tuple[NDArray[np.int64], NDArray[np.bool_]] | None


@dataclass(frozen=True)
class LabelledFolder:
    """Pictures of a folder.

    Attributes:
        folder: that they lie below.
        files: of them.
        labels: of their pixels.
        without: how many pictures were left out because they have no label map.
        warnings: what the user should know, a sentence each.
    """

    folder: Path
    files: tuple[Path, ...]
    labels: Labels
    without: int
    warnings: tuple[str, ...]

    def read(self, images: ImageFolder, preprocessing: Preprocessing) -> Iterator[Labelled]:
        """Every picture that can be used; one whose label map has another size is left out."""

        def convert(file: Path, image: Image.Image) -> Labelled:
            size = image.height, image.width
            classes = self.labels.of(file, size) if self.labels.maps else None
            return Labelled(preprocessing.transform_uint8(image), preprocessing.placement(size), classes)

        return (labelled for _, labelled in images.with_files(convert))


def labelled_folder(asked: EvalRequest, classes: int) -> LabelledFolder:
    """Find pictures and their label maps.

    Args:
        asked: the folder, and what its label maps mean.
        classes: how many the model has.

    Raises:
        MptqError: there are no pictures, or too many of them have no label map, or none has one and there is no float
            model to compare with.
    """
    found = find_label_maps(asked.data, asked.annotations)
    labels = Labels(found.maps, classes, asked.first_label, asked.ignore)
    if not found.maps:
        if asked.annotations is not None or asked.checkpoint is None:
            raise MptqError(
                f"there are no label maps {found.where}: PNG files that are called as the pictures are "
                f"({found.files[0].with_suffix('.png').name} ...); name their folder with --annotations, or --float "
                "and no folder to compare with the float model alone"
            )
        told = (f"there are no label maps {found.where}: the file is compared with the float model alone",)
        return LabelledFolder(found.folder, _limited(found.files, asked.limit), labels, 0, told)
    without = found.without
    if len(without) > _MOST_WITHOUT * len(found.files) and not asked.allow_skipped:
        raise MptqError(
            f"{len(without)} of {len(found.files)} pictures of {found.folder} have no label map {found.where} "
            f"({_some(without)}), more than a tenth; add them, or pass --allow-skipped"
        )
    warnings = (
        (f"{len(without)} of {len(found.files)} pictures have no label map ({_some(without)}): left out",)
        if without
        else ()
    )
    files = tuple(file for file in found.files if file in found.maps)
    return LabelledFolder(found.folder, _limited(files, asked.limit), labels, len(without), warnings)


def _limited(files: tuple[Path, ...], limit: int | None) -> tuple[Path, ...]:
    return files if limit is None else tuple(spread(files, limit))


def _some(files: tuple[Path, ...]) -> str:
    return ", ".join(file.name for file in files[:_SHOWN]) + (" ..." if len(files) > _SHOWN else "")

"""What a file says about the images that it is evaluated on, and what was found when they were read."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path

from mptq_export.data.class_map import check_numbers, read_class_map
from mptq_export.data.class_names import ClassNames
from mptq_export.data.classes import classes_of_file, number_folders
from mptq_export.data.images import ImageFolder
from mptq_export.data.reading import exif_of
from mptq_export.support.errors import MptqError
from mptq_export.support.hashes import sha256_of
from mptq_export.support.json_files import Json

_SHOWN = 10
_OVERRULED = re.compile(r" of --\S+ is taken, not ")


def names_for(
    model: Path, metadata: Mapping[str, str], class_map: Path | None, logits: int | None, *, classifies: bool
) -> tuple[ClassNames | None, tuple[str, ...]]:
    """Names of a file's logits and what to tell about them: a class map's, else the file's own.

    Args:
        model: the file, for messages.
        metadata: its own.
        class_map: a file that numbers the classes; it may leave some out.
        logits: how many there are; None where that is not known.
        classifies: whether it gives logits.

    Raises:
        MptqError: the class map or the metadata cannot be read, or there are no classes.
    """
    if not classifies:
        if class_map is not None:
            raise MptqError(f"{model} gives no logits, and nothing else has classes; leave --class-map out")
        return None, ()
    if class_map is not None:
        numbers = read_class_map(class_map)
        if logits is not None:
            check_numbers(class_map, numbers, logits)
        return ClassNames(numbers, f"--class-map {class_map}"), ()
    return classes_of_file(metadata)


def turns_for(metadata: Mapping[str, str], asked: bool | None) -> tuple[bool, tuple[str, ...]]:
    """Whether images are turned by their EXIF orientation, and what to tell where the file was calibrated otherwise.

    Args:
        metadata: the file's.
        asked: what the user said; None leaves it to the file.
    """
    calibrated = exif_of(metadata)
    if asked in (None, calibrated):
        return calibrated, ()
    how = ("turned by EXIF", "not turned by EXIF")
    return not calibrated, (f"the file was calibrated on images {how[not calibrated]}, these are {how[calibrated]}",)


def check_numbered(folder: ImageFolder, names: ClassNames | None, logits: int) -> None:
    """Refuse folders that were numbered in their order and are not one a logit: the file's shape did not say.

    Args:
        folder: the images.
        names: of the classes; None where the folders' order numbered them.
        logits: how many there are.

    Raises:
        MptqError: there are more or fewer folders.
    """
    if folder.numbering is not None and names is None:
        found = number_folders(folder.path, folder.folders, names, logits)
        if found.labels != folder.numbering.labels:
            raise MptqError(
                f"{folder.path}: the file's shape does not say that it has {logits} logits, and the folders were "
                "numbered otherwise; give --class-map FILE"
            )


def about_float(warnings: Iterable[str]) -> tuple[str, ...]:
    """What to tell about the float model; not that it gets the file's own input instead of the checkpoint's."""
    return tuple(f"--float: {warning}" for warning in warnings if not _OVERRULED.search(warning))


def images_digest(folder: ImageFolder) -> str:
    """SHA-256 over a line for each image that was read, in order: that of its file, a space, its path in the folder."""
    lines = (f"{sha256_of(file)} {file.relative_to(folder.path).as_posix()}\n" for file in folder.files)
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


def about_data(folder: ImageFolder, notes: tuple[str, ...]) -> dict[str, Json]:
    """How the images were read, as plain JSON values.

    Args:
        folder: after all of its images were read.
        notes: what else the user should know.
    """
    numbering = folder.numbering
    return {
        "class_folders": len(numbering.names) if numbering else None,
        "labels": numbering.text if numbering else None,
        "skipped": len(folder.skipped),
        "skipped_first": {
            str(file.relative_to(folder.path)): why for file, why in islice(folder.skipped.items(), _SHOWN)
        },
        "exif_orientations": folder.turned,
        "images_sha256": images_digest(folder),
        "warnings": [*folder.warnings, *notes],
    }

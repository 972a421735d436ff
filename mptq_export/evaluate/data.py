"""What a file says about the images that it is evaluated on, and what was found when they were read."""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import onnxruntime as ort

from mptq_export.data.class_map import read_class_map
from mptq_export.data.class_names import ClassNames
from mptq_export.data.classes import classes_of_file, number_folders
from mptq_export.data.images import ImageFolder
from mptq_export.data.reading import exif_of
from mptq_export.errors import MptqError

_SHOWN = 10


def names_for(
    model: Path, metadata: Mapping[str, str], class_map: Path | None, features: bool
) -> tuple[ClassNames | None, tuple[str, ...]]:
    """Names of a file's logits and what to tell about them: a class map's, else the file's own.

    Args:
        model: the file, for messages.
        metadata: its own.
        class_map: a file that numbers the classes.
        features: whether it gives feature maps.

    Raises:
        MptqError: the class map or the metadata cannot be read, or there are no classes.
    """
    if features:
        if class_map is not None:
            raise MptqError(f"{model} gives feature maps, which have no classes; leave --class-map out")
        return None, ()
    if class_map is not None:
        return ClassNames(read_class_map(class_map), f"--class-map {class_map}"), ()
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


def logits_of(session: ort.InferenceSession) -> int | None:
    """How many logits a file has; None where its output's shape does not say."""
    shape = session.get_outputs()[0].shape
    return shape[-1] if shape and isinstance(shape[-1], int) else None


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
        number_folders(folder.path, folder.folders, names, logits)


def about_data(folder: ImageFolder, notes: tuple[str, ...]) -> dict[str, Any]:
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
        "warnings": [*folder.warnings, *notes],
    }

"""What an export calls the classes: by a class map, the checkpoint, or the folders of calibration images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mptq_export.data.class_map import names_in_order, read_class_map
from mptq_export.data.class_names import ClassNames
from mptq_export.data.classes import FOLDERS, Folder, number_folders
from mptq_export.recipe.settings import NamedClasses
from mptq_export.support.errors import MptqError

MAP: Final = "class map"
CHECKPOINT: Final = "checkpoint"


@dataclass(frozen=True)
class ModelClasses:
    """Names of the logits.

    Attributes:
        named: None where the names are not known.
        warnings: what the user should know, a sentence each.
    """

    named: NamedClasses | None
    warnings: tuple[str, ...] = ()


def name_classes(
    calib: Path | None, folders: Sequence[Folder], logits: int, own: Sequence[str] | None, class_map: Path | None
) -> ModelClasses:
    """Decide what the classes are called.

    Args:
        calib: where the calibration data lies, for messages.
        folders: the folders below it that hold images.
        logits: how many the model has.
        own: names that the checkpoint gives.
        class_map: a file that names them.

    Raises:
        MptqError: the class map cannot be read, or does not name every logit once.
    """
    if class_map is not None:
        named = NamedClasses(names_in_order(class_map, read_class_map(class_map), logits), MAP)
    elif own is not None and len(own) != logits:
        told = f"{len(own)} class names of the checkpoint are left out: the model has {logits} logits"
        return ModelClasses(None, (told,))
    elif own is not None:
        named = NamedClasses(tuple(own), CHECKPOINT)
    else:
        return _by_folders(calib, folders, logits)
    known = ClassNames.in_order(named.names, f"the {named.origin}")
    folders_named = {name for folder in folders for name in folder}
    several = len({folder[0] for folder in folders if folder}) > 1
    if not several or any(known.number(name) is not None for name in folders_named):
        return ModelClasses(named)
    first = min(folders_named)
    note = (
        f"no folder of {calib} is a class of the model ({first} ...; the {named.origin} names {named.names[0]} ...): "
        "other images?"
    )
    return ModelClasses(named, (note,))


def _by_folders(calib: Path | None, folders: Sequence[Folder], logits: int) -> ModelClasses:
    """Number i is logit i where there is one folder a logit, as `mptq-eval` takes it too."""
    try:
        found = number_folders(calib or Path(), folders, None, logits) if folders else None
    except MptqError:
        return ModelClasses(None)
    if found is None or len(found.names) != logits:
        return ModelClasses(None)
    return ModelClasses(NamedClasses(found.names, FOLDERS), found.warnings)

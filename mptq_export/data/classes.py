"""Which logit a class folder belongs to: by the name of the class, or by the order in which timm numbers folders."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from mptq_export.data.class_names import ClassNames
from mptq_export.support.errors import MptqError

NAMES_KEY = "mptq.class_names"
ORIGIN_KEY = "mptq.class_names_from"
FOLDERS: Final = "calibration folders"
"""Origin of names that were no more than the names of folders."""

_NUMBER = re.compile(r"(\d+)")
_LEVELS = {"the first level": 0, "the folders that hold the images": -1}

Folder = tuple[str, ...]
"""Path of a folder that holds images, relative to the data's, a name a level."""


@dataclass(frozen=True)
class FolderNumbering:
    """The logit of every folder.

    Attributes:
        labels: number of the logit of each folder that holds images.
        names: the class folders' names in timm's order.
        text: how they were numbered, for people.
        warnings: what the user should know, a sentence each.
    """

    labels: dict[Folder, int]
    names: tuple[str, ...]
    text: str
    warnings: tuple[str, ...] = ()


def class_order(names: Iterable[str]) -> tuple[str, ...]:
    """Names of class folders as timm numbers them: numbers in a name by value, letters without regard to case."""
    return tuple(sorted(set(names), key=lambda name: (_natural(name), name)))


def _natural(name: str) -> list[int | str]:
    parts = _NUMBER.split(name.lower())  # text and number by turns, so that equals are compared with equals
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]


def classes_of_file(metadata: Mapping[str, str]) -> tuple[ClassNames | None, tuple[str, ...]]:
    """The names that an exported file gives its logits, and what to tell about them.

    Files of older versions hold names of calibration folders in plain order (10 before 2); those are put into timm's.

    Raises:
        MptqError: the metadata is damaged.
    """
    if NAMES_KEY not in metadata:
        return None, ()
    try:
        names = json.loads(metadata[NAMES_KEY])
    except (ValueError, RecursionError) as error:
        raise MptqError(f"the file's {NAMES_KEY} is not JSON ({error}); export it again") from error
    if not isinstance(names, list) or not names or not all(type(name) is str for name in names):
        raise MptqError(f"the file's {NAMES_KEY} is no list of names; export it again, or give --class-map FILE")
    origin = metadata.get(ORIGIN_KEY, "checkpoint")
    ours = list(class_order(names))
    if origin != FOLDERS or names != sorted(names) or names == ours:
        return ClassNames.in_order(names, f"the file (from the {origin})"), ()
    first = next(place for place, name in enumerate(names) if name != ours[place])
    return ClassNames.in_order(ours, f"the file (from the {origin})"), (
        f"the file's class names are folders in plain order ({names[first]} before {ours[first]}), as older versions "
        "wrote them; they were put into timm's order: export again, or give --class-map FILE",
    )


def number_folders(
    root: Path, folders: Sequence[Folder], names: ClassNames | None, logits: int | None
) -> FolderNumbering:
    """Number class folders.

    Args:
        root: the data's folder, for messages.
        folders: every folder below it that holds images.
        names: of the classes, where they are known.
        logits: how many the model has; None where that is not known.

    Raises:
        MptqError: images lie outside of class folders, a folder is no class, or the order cannot be known.
    """
    if () in folders:
        raise MptqError(f"images lie in {root} itself, in no class folder; it must hold one folder of images a class")
    if names is None and logits is not None:
        names = ClassNames.of_imagenet([folder[0] for folder in folders], logits)
    numbered = {}
    for level, place in _LEVELS.items():
        found = [folder[place] for folder in folders]
        numbers = _in_order(found, logits) if names is None else names.number_all(found)
        if numbers is not None:
            numbered[level] = {folder: numbers[folder[place]] for folder in folders}
    if not numbered:
        raise MptqError(_unknown(root, [folder[0] for folder in folders], names, logits))
    level, labels = next(iter(numbered.items()))
    if any(other != labels for other in numbered.values()):
        raise MptqError(
            f"{root} has folders in folders, and both {' and '.join(_LEVELS)} could be the classes (timm takes those "
            "that hold the images); give --class-map FILE, or name a folder with one level"
        )
    ordered = class_order(folder[_LEVELS[level]] for folder in folders)
    warnings = _split_warnings(root, folders) if _LEVELS[level] else ()
    if names is not None:
        return FolderNumbering(
            labels, ordered, f"{len(ordered)} class folders, matched by name with {names.origin}", warnings
        )
    text = f"{len(ordered)} class folders, numbered in timm's order, as no names of the classes are known"
    return FolderNumbering(labels, ordered, text, (*warnings, *_order_warnings(ordered)))


def _split_warnings(root: Path, folders: Sequence[Folder]) -> tuple[str, ...]:
    """That a class lies in several folders of the first level, such as `train` and `val`."""
    within: dict[str, set[str]] = {}
    for folder in folders:
        within.setdefault(folder[-1], set()).add(folder[0])
    parts = max(within.values(), key=len)
    shown = ", ".join(class_order(parts))
    return (
        (f"folders of one class lie in several folders of {root} ({shown}), taken together",) if len(parts) > 1 else ()
    )


def _in_order(names: list[str], logits: int | None) -> dict[str, int] | None:
    """Numbers by timm's order; None where there is not one folder a logit, or two names are alike in that order."""
    ordered = class_order(names)
    if logits not in (None, len(ordered)) or _alike(ordered):
        return None
    return {name: number for number, name in enumerate(ordered)}


def _alike(ordered: Sequence[str]) -> tuple[str, str] | None:
    """Two names that timm's order does not tell apart: it would number them by chance."""
    return next(((a, b) for a, b in pairwise(ordered) if _natural(a) == _natural(b)), None)


def _order_warnings(ordered: Sequence[str]) -> tuple[str, ...]:
    plain = sorted(ordered)
    first = next((place for place, name in enumerate(ordered) if name != plain[place]), None)
    if first is None:
        return ()
    return (
        f"the class folders are numbered as timm numbers them ({ordered[first]} before {plain[first]}); a model "
        f"that was trained with torchvision's ImageFolder has {plain[first]} first: give it --class-map FILE",
    )


def _unknown(root: Path, folders: list[str], names: ClassNames | None, logits: int | None) -> str:
    """Why there is no numbering."""
    ordered = class_order(folders)
    if names is not None:
        return f"{root}: {names.problem(ordered)}; rename the folder, or give --class-map FILE"
    alike = _alike(ordered)
    if alike and logits in (None, len(ordered)):
        why = f"timm's order does not tell folder {alike[0]} from {alike[1]}"
    else:
        why = f"it has {len(ordered)} class folders, the model {logits} logits, and no names of the classes are known"
    return f"{root}: {why}; which folder is which logit cannot be told: give --class-map FILE"

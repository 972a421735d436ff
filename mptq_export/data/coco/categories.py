"""Which of a detector's labels each category is: by its name, or by its id where nobody says names."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mptq_export.data.class_names import ClassNames
from mptq_export.recipe.detector import Detector
from mptq_export.support.errors import MptqError

_NO_NAME = re.compile(r"(label|class|category|n/a|id)?[\s_-]*\d*", re.IGNORECASE)
_SHOWN = 5


@dataclass(frozen=True)
class MatchedCategories:
    """Categories and labels of the same classes.

    Attributes:
        labels: the label of each category that the detector has, by id.
        text: how they were matched, for people.
        lacking: names of the categories with objects that the detector has not.
    """

    labels: dict[int, int]
    text: str
    lacking: tuple[str, ...] = ()


def match_categories(
    annotations: Path,
    categories: Mapping[int, str],
    used: set[int],
    detector: Detector,
    class_map: ClassNames | None,
) -> MatchedCategories:
    """Find each category among a detector's classes.

    Args:
        annotations: the file, for messages.
        categories: names by id.
        used: ids with objects.
        detector: whose labels; its `names` count, unless they are numbers that no category is called by.
        class_map: names that the user gave, in the order of the scores, without background.

    Raises:
        MptqError: no category is a class of the detector, two are the same, or nothing tells.
    """
    first = 1 if detector.family == "rcnn" else 0
    names = class_map
    if names is None and detector.names is not None:
        names = ClassNames.in_order(detector.names, "the model")
        numbered = all(map(_NO_NAME.fullmatch, detector.names))
        if numbered and not any(names.number(categories[number]) is not None for number in used):
            names = None
    if names is None:
        return _by_ids(annotations, categories, used, range(first, first + detector.classes))
    found: dict[int, int] = {}
    for number, name in categories.items():
        index = names.number(name)
        if index is not None:
            found[number] = index + first
    labelled: dict[int, int] = {}
    for number, label in found.items():
        other = labelled.setdefault(label, number)
        if other != number:
            raise MptqError(
                f"{annotations}: categories {categories[other]} and {categories[number]} are the same class by "
                f"{names.origin}; name the classes with --class-map FILE"
            )
    if used and not used & set(found):
        shown = ", ".join([categories[number] for number in sorted(used)][:_SHOWN])
        raise MptqError(
            f"no category of {annotations} ({shown}) is a class that {names.origin} names "
            f"({', '.join(list(names.numbers)[:_SHOWN])}); give --class-map FILE, a name a line in "
            "the order of the scores"
        )
    lacking = tuple(categories[number] for number in sorted(used - set(found)))
    return MatchedCategories(found, f"categories by the names of {names.origin}", lacking)


def _by_ids(annotations: Path, categories: Mapping[int, str], used: set[int], labels: range) -> MatchedCategories:
    """Ids as labels, where all of them are labels; as torchvision's detectors have COCO's 1 to 90."""
    stranger = next((number for number in sorted(used or set(categories)) if number not in labels), None)
    if stranger is not None:
        raise MptqError(
            f"{annotations}: category {stranger} ({categories[stranger]}) is no label of the model, which has "
            f"{labels[0]} to {labels[-1]} and no names; give --class-map FILE, a name a line in the order of the scores"
        )
    found = {number: number for number in categories if number in labels}
    return MatchedCategories(found, f"ids of categories are the model's labels, {labels[0]} to {labels[-1]}")

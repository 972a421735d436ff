"""Categories and a detector's labels."""

from pathlib import Path

import pytest

from mptq_export.data.class_names import ClassNames
from mptq_export.data.coco.categories import match_categories
from mptq_export.recipe.detector import Detector, Family, Level, Pooling, Regions, Selection
from mptq_export.support.errors import MptqError

SAID = Path("annotations.json")
TWO = {1: "cat", 2: "dog"}


def detector(family: Family = "set", classes: int = 3, names: tuple[str, ...] | None = None) -> Detector:
    selection = Selection(0.05, 100, 0.5, 10)
    pooling = Pooling(("0",), (0.25,), (7, 7), 2, 224, 4)
    return Detector(
        family,
        "proposals" if family == "rcnn" else "network",
        (32, 32),
        classes,
        names,
        selection,
        () if family == "set" else (Level("0", (4, 4), (8, 8), ((-4.0, -4.0, 4.0, 4.0),)),),
        regions=Regions((10.0, 10.0, 5.0, 5.0), pooling, None, selection) if family == "rcnn" else None,
    )


def test_by_names_from_0_and_of_two_stages_from_1():
    names = ("dog", "bird", "Cat")
    assert match_categories(SAID, TWO, {1, 2}, detector(names=names), None).labels == {1: 2, 2: 0}
    assert match_categories(SAID, TWO, {1, 2}, detector("rcnn", names=names), None).labels == {1: 3, 2: 1}
    mapped = ClassNames({"cat": 1, "dog": 0}, "--class-map x")
    assert match_categories(SAID, TWO, {1, 2}, detector(names=names), mapped).labels == {1: 1, 2: 0}


def test_categories_that_the_model_lacks_are_named():
    found = match_categories(SAID, {**TWO, 3: "boat", 4: "car"}, {1, 3}, detector(names=("cat", "dog", "bird")), None)
    assert found.labels == {1: 0, 2: 1}
    assert found.lacking == ("boat",)


def test_by_ids_where_they_are_labels():
    assert match_categories(SAID, TWO, {1, 2}, detector("rcnn", 2), None).labels == {1: 1, 2: 2}
    assert match_categories(SAID, TWO, {1, 2}, detector("fcos", 3), None).labels == {1: 1, 2: 2}
    nobody = ("LABEL_0", "LABEL_1", "LABEL_2")
    assert match_categories(SAID, {0: "super", **TWO}, {1, 2}, detector("rcnn", 3, nobody), None).labels == TWO_LABELS


def test_numbers_are_names_where_categories_are_called_so():
    digits = {1: "0", 2: "1", 3: "2"}
    found = match_categories(SAID, digits, {1, 2, 3}, detector("fcos", 3, ("0", "1", "2")), None)
    assert found.labels == {1: 0, 2: 1, 3: 2}


TWO_LABELS = {1: 1, 2: 2}


@pytest.mark.parametrize(
    ("categories", "having", "told"),
    [
        ({1: "cat", 90: "dog"}, detector("fcos", 80), "category 90 .dog. is no label.*0 to 79.*--class-map"),
        ({0: "cat", 1: "dog"}, detector("rcnn", 2), "category 0 .cat. is no label.*1 to 2.*--class-map"),
        (TWO, detector(names=("a", "b", "c")), "no category.*cat, dog.*the model names.*--class-map"),
        ({1: "cat", 2: "Cat"}, detector(names=("cat", "b", "c")), "are the same class"),
    ],
)
def test_what_nothing_tells_is_refused(categories: dict[int, str], having: Detector, told: str):
    with pytest.raises(MptqError, match=told):
        match_categories(SAID, categories, set(categories), having, None)

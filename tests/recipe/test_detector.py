"""A detector's description goes into a file's metadata and comes back; a damaged one is a line."""

import json
from dataclasses import asdict, replace

import pytest

from mptq_export.recipe.detector import (
    DETECTOR_KEY,
    Detector,
    Level,
    Pooling,
    Regions,
    Selection,
    detector_of,
    detector_text,
)
from mptq_export.support.errors import MptqError

LEVEL = Level("0", (8, 8), (4, 4), ((-8.0, -8.0, 8.0, 8.0), (-16.0, -8.0, 16.0, 8.0)))
POOLING = Pooling(("0",), (0.25,), (7, 7), 2, 224, 4)
SELECTION = Selection(0.05, 1000, 0.5, 100)
RCNN = Detector(
    family="rcnn",
    part="proposals",
    image=(32, 32),
    classes=2,
    names=("one", "two"),
    selection=SELECTION,
    levels=(LEVEL,),
    regions=Regions((10.0, 10.0, 5.0, 5.0), POOLING, None, SELECTION),
)


def test_comes_back_as_it_went() -> None:
    assert detector_of({DETECTOR_KEY: detector_text(RCNN)}) == RCNN
    assert detector_of({}) is None


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"part": "network"}, "part network is none of family rcnn"),
        ({"part": "mask"}, "there is no mask head"),
        ({"regions": None}, "a second stage"),
        ({"names": ["one"]}, "1 names for 2 classes"),
        ({"levels": []}, "no level has candidates"),
        ({"image": [32]}, "not a list of 2"),
        ({"image": [0, 32]}, r"2 classes in images of \(0, 32\)"),
        ({"classes": 0, "names": None}, "0 classes"),
        ({"levels": [LEVEL, replace(LEVEL, name="1", size=(-4, 4))]}, "a level has no positions"),
        ({"levels": [replace(LEVEL, name="1")]}, "regions of 0, and there is no such level"),
        (
            {"regions": {**asdict(RCNN)["regions"], "mask_pooling": {**asdict(POOLING), "scales": []}}},
            "1 levels with 0",
        ),
        ({"regions": {**asdict(RCNN)["regions"], "box_pooling": {**asdict(POOLING), "size": [0, 7]}}}, "not above 0"),
    ],
)
def test_damage_is_a_line(changes: dict[str, object], told: str) -> None:
    values = {**json.loads(detector_text(RCNN)), **changes}
    with pytest.raises(MptqError, match=told):
        detector_of({DETECTOR_KEY: json.dumps(values, default=asdict)})


def test_no_json_is_a_line() -> None:
    with pytest.raises(MptqError, match="is damaged"):
        detector_of({DETECTOR_KEY: "{"})


def test_a_part_is_another_file_of_the_same_detector() -> None:
    assert detector_of({DETECTOR_KEY: detector_text(replace(RCNN, part="box"))}) == replace(RCNN, part="box")

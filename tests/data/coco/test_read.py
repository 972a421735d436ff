"""Folders in COCO's format: where they are looked for, what is refused, what is counted."""

import json
from pathlib import Path
from typing import Any

import pytest

from mptq_export.data.coco.layout import find_annotations
from mptq_export.data.coco.read import read_coco
from mptq_export.data.coco.scenes import CocoFolder, Counted
from mptq_export.support.errors import MptqError
from tests.data.coco.made_scenes import Entry, content, one_object, picture_file, scene_folder


def read(path: Path, said: Entry) -> CocoFolder:
    folder = scene_folder(path / "scenes", said)
    found = find_annotations(folder, None)
    assert found is not None
    return read_coco(folder, found)


def test_a_plain_folder(tmp_path: Path):
    said = content(3, [one_object(), one_object(2, image_id=2, category_id=2, iscrowd=1)])
    found = read(tmp_path, said)
    assert [scene.file.name for scene in found.scenes] == ["1.png", "2.png", "3.png"]
    assert {scene.size for scene in found.scenes} == {(30, 40)}
    assert [(each.file.name, each.category, each.crowd) for each in found.objects] == [
        ("1.png", 1, False),
        ("2.png", 2, True),
    ]
    assert found.objects[0].box == (4, 5, 10, 12)
    assert found.categories == {1: "cat", 2: "dog"}
    assert found.counted == Counted()
    assert found.counted.sentences(found.annotations) == ()


@pytest.mark.parametrize("named", ["", "val2017"])
def test_the_official_layout_by_either_folder(tmp_path: Path, named: str):
    scene_folder(tmp_path / "coco", content(), annotations="annotations/instances_val2017.json", pictures="val2017")
    scene_folder(tmp_path / "coco", content(), annotations="annotations/instances_train2017.json", pictures="other")
    data = tmp_path / "coco" / named
    found = find_annotations(data, None)
    assert found is not None and found.name == "instances_val2017.json"
    assert read_coco(data, found).scenes[0].file == (tmp_path / "coco/val2017/1.png")


@pytest.mark.parametrize("named", ["", "images"])
def test_annotations_beside_a_folder_of_images(tmp_path: Path, named: str):
    folder = scene_folder(tmp_path / "a", content(), pictures="images")
    found = find_annotations(folder / named, None)
    assert found is not None and found.resolve() == (folder / "annotations.json").resolve()
    assert read_coco(folder / named, found).scenes[0].file == folder / "images/1.png"


def test_annotations_elsewhere(tmp_path: Path):
    folder = scene_folder(tmp_path / "a", content(), annotations="../said.json", pictures="images")
    assert find_annotations(folder, None) is None
    found = find_annotations(folder, tmp_path / "said.json")
    assert found is not None
    assert read_coco(folder, found).folder == folder / "images"
    with pytest.raises(MptqError, match="is no file"):
        find_annotations(folder, tmp_path / "nothing.json")
    with pytest.raises(MptqError, match="is no folder"):
        find_annotations(tmp_path / "nothing", None)


def test_two_that_could_be_meant(tmp_path: Path):
    for split in ("a", "b"):
        scene_folder(tmp_path, content(), annotations=f"annotations/instances_{split}.json", pictures=split)
    with pytest.raises(MptqError, match=r"instances_a\.json, instances_b\.json: say which"):
        find_annotations(tmp_path, None)


@pytest.mark.parametrize(
    ("name", "objects"),
    [
        ("without_picture", [one_object(), one_object(2, image_id=9)]),
        ("without_category", [one_object(), one_object(2, category_id=9)]),
        ("empty_boxes", [one_object(), one_object(2, bbox=[1, 1, 0, 5])]),
        ("empty_boxes", [one_object(), one_object(2, bbox=[1, 1, 5, -5])]),
        ("outside", [one_object(), one_object(2, bbox=[41, 1, 5, 5])]),
        ("outside", [one_object(), one_object(2, bbox=[1, -9, 5, 5])]),
        ("repeated", [one_object(), one_object()]),
    ],
)
def test_objects_that_are_left_out_are_counted(tmp_path: Path, name: str, objects: list[Entry]):
    found = read(tmp_path, content(2, objects))
    assert len(found.objects) == 1
    assert found.counted == Counted(**{name: 1})
    assert len(found.counted.sentences(found.annotations)) == 1


@pytest.mark.parametrize(
    ("name", "second"),
    [("beyond", one_object(2, bbox=[30, 5, 20, 5])), ("same_ids", one_object(1, bbox=[30, 5, 3, 5]))],
)
def test_objects_that_are_unusual_are_judged_and_counted(tmp_path: Path, name: str, second: Entry):
    found = read(tmp_path, content(2, [one_object(), second]))
    assert len(found.objects) == 2
    assert found.counted == Counted(**{name: 1})


def test_a_box_that_ends_within_a_pixel_of_the_border_is_usual(tmp_path: Path):
    assert read(tmp_path, content(1, [one_object(bbox=[-0.4, 0, 40.9, 30.5])])).counted == Counted()


def test_pictures_that_are_not_there_are_left_out_with_their_objects(tmp_path: Path):
    folder = scene_folder(tmp_path, content(2, [one_object(), one_object(2, image_id=2)]))
    (folder / "1.png").unlink()
    found = read_coco(folder, folder / "annotations.json")
    assert [scene.file.name for scene in found.scenes] == ["2.png"]
    assert [each.file.name for each in found.objects] == ["2.png"]
    assert (found.missing, found.counted.missing) == (("1.png",), 1)
    (folder / "2.png").unlink()
    with pytest.raises(MptqError, match="none of the pictures"):
        read_coco(folder, folder / "annotations.json")


def test_an_area_that_nobody_says_is_that_of_the_box(tmp_path: Path):
    said = one_object()
    del said["area"], said["iscrowd"], said["id"]
    found = read(tmp_path, content(1, [said, said]))
    assert [each.area for each in found.objects] == [120, 120]
    assert not found.objects[0].crowd


POLYGON = [[4, 5, 14, 5, 14, 17]]
RUNS = {"size": [30, 40], "counts": [100, 100, 1000]}


@pytest.mark.parametrize("mask", [POLYGON, RUNS])
def test_masks(tmp_path: Path, mask: Any):
    assert read(tmp_path, content(1, [one_object(segmentation=mask)])).objects[0].segmentation == mask


@pytest.mark.parametrize("runs", [[7, 200, 13, 40, 940], [0, 1200], [1, 1, 1, 1, 1, 1, 1194], [600, 1, 599]])
def test_masks_as_pycocotools_writes_them(tmp_path: Path, runs: list[int]):
    coder = pytest.importorskip("pycocotools.mask", reason="pycocotools is optional")
    text = coder.frPyObjects({"size": [30, 40], "counts": runs}, 30, 40)["counts"].decode()
    for counts, there in ((text, True), (text[:-1], False)):
        mask = {"size": [30, 40], "counts": counts}
        found = read(tmp_path, content(1, [one_object(segmentation=mask)])).objects[0].segmentation
        assert found == (mask if there else None)


@pytest.mark.parametrize(
    "mask",
    [
        [],
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5, "6"]],
        [[1, 2, 3, 4, 5, float("nan")]],
        [[1, 2, 3, 4, 5, 1e9]],
        {"size": [30, 40], "counts": [100, 100]},
        {"size": [30, 40], "counts": [-100, 1300]},
        {"size": [40, 30], "counts": [1200]},
        {"size": [30, 40], "counts": "oooooooo"},
        {"size": [30, 40], "counts": "\u00ff"},
        "mask",
    ],
)
def test_masks_that_are_none(tmp_path: Path, mask: Any):
    assert read(tmp_path, content(1, [one_object(segmentation=mask)])).objects[0].segmentation is None


REFUSED: list[tuple[str, Any, str]] = [
    ("images", [], "lists no pictures"),
    ("images", None, "no list of images"),
    ("categories", {}, "no list of categories"),
    ("annotations", [7], "no object in JSON's sense"),
    ("annotations", [None], "no object in JSON's sense"),
    ("images", [{"id": 1, "file_name": "a" * 999}], "none of the pictures"),
    ("categories", [{"id": 10**30, "name": "a"}], "not a whole number"),
    ("images", [{"id": 1, "file_name": "a.png"}, {"id": 1, "file_name": "b.png"}], "have the same id 1"),
    ("images", [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "a.png"}], "are both a.png"),
    ("images", [{"id": 1, "file_name": "../a.png"}], "leads out of the folder"),
    ("images", [{"id": 1, "file_name": "/etc/passwd"}], "leads out of the folder"),
    ("images", [{"id": 1}], "no file_name"),
    ("images", [{"id": "x", "file_name": "a.png"}], "not a whole number"),
    ("images", [{"id": 1, "file_name": "a.png", "width": 0, "height": 4}], "which no picture is"),
    ("categories", [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}], "have the same id 1"),
    ("categories", [{"id": 1}], "has no name"),
    ("annotations", [{"id": 1, "image_id": 1, "caption": "a cat"}], "not captions"),
    ("annotations", [one_object(bbox=[1, 2, 3])], "not four numbers"),
    ("annotations", [one_object(bbox=[1, 2, 3, float("nan")])], "not four numbers"),
    ("annotations", [one_object(area=-1)], "no number of pixels"),
    ("annotations", [one_object(iscrowd=2)], "not 0 or 1"),
    ("annotations", [one_object(category_id=None)], "not a whole number"),
]


@pytest.mark.parametrize(("part", "value", "told"), REFUSED)
def test_what_no_average_precision_can_come_from_is_refused(tmp_path: Path, part: str, value: Any, told: str):
    folder = scene_folder(tmp_path / "scenes", content())
    picture_file(folder / "a.png")
    (folder / "annotations.json").write_text(json.dumps(content() | {part: value}), encoding="utf-8")
    with pytest.raises(MptqError, match=told):
        read_coco(folder, folder / "annotations.json")


@pytest.mark.parametrize("text", ["", "[]", "{", "7", '[{"bbox": [1, 2, 3, 4]}]'])
def test_files_of_another_kind(tmp_path: Path, text: str):
    (tmp_path / "annotations.json").write_text(text, encoding="utf-8")
    with pytest.raises(MptqError, match="COCO's format"):
        read_coco(tmp_path, tmp_path / "annotations.json")


STRANGE: list[Any] = [None, True, -1, 10**30, 1e308, float("nan"), "x", "a" * 9999, "\ud800", [], [[[]]], {}, {"a": 1}]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to everything in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, each in inner for found in places(each, (*path, key)))]


def test_whatever_stands_in_the_file_is_read_or_refused(tmp_path: Path):
    said = content(2, [one_object(segmentation=POLYGON), one_object(2, segmentation=RUNS)])
    folder = scene_folder(tmp_path, said)
    refused = 0
    for path in places(said)[1::2]:
        for value in STRANGE:
            changed = json.loads(json.dumps(said))
            holder = changed
            for key in path[:-1]:
                holder = holder[key]
            holder[path[-1]] = value
            (folder / "annotations.json").write_text(json.dumps(changed), encoding="utf-8")
            try:
                read_coco(folder, folder / "annotations.json")
            except MptqError:
                refused += 1
    assert refused > 100

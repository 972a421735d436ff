"""Which logit a class folder is: timm's order, names, and what cannot be known."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from timm.data import ImageDataset, ImageNetInfo

from mptq_export.data.class_names import ClassNames
from mptq_export.data.classes import class_order, classes_of_file, number_folders
from mptq_export.support.errors import MptqError

ROOT = Path("val")


def flat(*names: str) -> list[tuple[str, ...]]:
    return [(name,) for name in names]


def refusal(folders: list[tuple[str, ...]], names: ClassNames | None, logits: int | None) -> str:
    with pytest.raises(MptqError) as caught:
        number_folders(ROOT, folders, names, logits)
    assert "val" in str(caught.value) and "--class-map FILE" in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "names",
    [
        [str(number) for number in range(12)],
        ["ant", "Bird", "cat", "Dog"],
        ["a10b2", "a9b10", "A9b2", "b", "10a", "9z", "_x", "x_1", "x-1", "X2"],
        ["Ärger", "zoo", "éclair", "٣", "12"],
    ],
)
def test_the_order_of_timm(tmp_path: Path, names: list[str]):
    for name in names:
        (tmp_path / name).mkdir()
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / name / "x.png")
    index = ImageDataset(str(tmp_path)).reader.class_to_idx
    assert list(class_order(names)) == sorted(index, key=index.__getitem__)
    assert {folder[0]: number for folder, number in number_folders(ROOT, flat(*names), None, None).labels.items()} == (
        index
    )


def test_folders_without_names_need_one_a_logit():
    found = number_folders(ROOT, flat("b", "a", "c"), None, 3)
    assert (found.labels, found.names, found.warnings) == ({("a",): 0, ("b",): 1, ("c",): 2}, ("a", "b", "c"), ())
    assert "3 class folders, numbered in timm's order" in found.text
    assert "2 class folders, the model 3 logits" in refusal(flat("a", "b"), None, 3)
    assert "4 class folders, the model 3 logits" in refusal(flat("a", "b", "c", "d"), None, 3)
    with pytest.raises(MptqError, match="itself, in no class folder"):
        number_folders(ROOT, [(), ("a",)], None, 2)


def test_names_that_timm_would_number_by_chance():
    assert "does not tell folder Ant from ant" in refusal(flat("ant", "Ant", "bee"), None, 3)
    assert "does not tell folder 01 from 1" in refusal(flat("1", "01"), None, 2)
    assert number_folders(ROOT, flat("ant", "Ant"), ClassNames.in_order(["Ant", "ant"], "x"), 2).labels == {
        ("Ant",): 0,
        ("ant",): 1,
    }


def test_where_torchvision_numbers_otherwise_it_is_said():
    (note,) = number_folders(ROOT, flat("1", "2", "10"), None, 3).warnings
    assert "(2 before 10)" in note and "torchvision's ImageFolder has 10 first" in note and "--class-map" in note


def test_folders_in_folders():
    nested = [("cat",), ("dog", "sub"), ("dog",)]
    assert number_folders(ROOT, nested, None, 2).labels == {("cat",): 0, ("dog", "sub"): 1, ("dog",): 1}
    assert number_folders(ROOT, nested, None, 3).labels == {("cat",): 0, ("dog",): 1, ("dog", "sub"): 2}
    assert "both" in refusal([("a", "z"), ("b", "y")], None, 2)
    assert number_folders(ROOT, [("a", "y"), ("b", "z")], None, 2).labels == {("a", "y"): 0, ("b", "z"): 1}
    names = ClassNames.in_order(["x", "y"], "the file")
    found = number_folders(ROOT, [("train", "y"), ("val", "y"), ("val", "x")], names, 2)
    assert found.labels == {("train", "y"): 1, ("val", "y"): 1, ("val", "x"): 0}
    assert found.warnings == ("folders of one class lie in several folders of val (train, val), taken together",)
    assert number_folders(ROOT, [("part", "y"), ("part", "x")], names, 2).warnings == ()


def test_a_subset_is_matched_by_name():
    names = ClassNames.in_order([str(number) for number in range(10)], "the file (from the checkpoint)")
    found = number_folders(ROOT, flat("8", "3", "5"), names, 10)
    assert found.labels == {("3",): 3, ("5",): 5, ("8",): 8}
    assert found.text == "3 class folders, matched by name with the file (from the checkpoint)"
    told = refusal(flat("3", "eleven"), names, 10)
    assert "folder eleven is none of the classes that the file (from the checkpoint) names (0, 1, 2 ...)" in told


def test_names_are_matched_without_case_and_by_their_parts():
    names = ClassNames.in_order(["tench, Tinca tinca", "Great White-Shark", "crane", "crane", "Cat", "cat"], "x")
    for folder, logit in (
        ("tench, Tinca tinca", 0),
        ("Tench", 0),
        ("tinca_tinca", 0),
        ("great_white_shark", 1),
        ("crane", None),  # two birds and machines of one name
        ("cat", 5),
        ("CAT", None),
    ):
        assert names.number(folder) == logit, folder
    assert "folders Tench and tinca_tinca are the same class" in refusal(flat("Tench", "tinca_tinca"), names, 6)
    aliases = ClassNames({"tench": 0, "n01440764": 0}, "the class map")
    assert number_folders(ROOT, flat("tench", "n01440764"), aliases, 2).labels == {("tench",): 0, ("n01440764",): 0}


def test_synsets_of_imagenet():
    synsets = ImageNetInfo().label_names()
    assert number_folders(ROOT, flat(synsets[217], synsets[3]), None, 1000).labels == {
        (synsets[217],): 217,
        (synsets[3],): 3,
    }
    assert "imagenet-1k's synsets" in number_folders(ROOT, flat(synsets[3]), None, 1000).text
    assert "n99999999 is none of the classes" in refusal(flat("n99999999"), None, 1000)
    assert "2 class folders, the model 10 logits" in refusal(flat(*synsets[:2]), None, 10)
    words = ClassNames.in_order(["cassette player", "tench", "English springer"], "the checkpoint")
    assert [words.number(synset) for synset in ("n01440764", "n02102040", "n02979186", "n03000684")] == [1, 2, 0, None]
    named = ClassNames.in_order(["n01440764", "n02102040"], "the checkpoint")
    assert [named.number(word) for word in ("Tench", "english_springer", "dog")] == [0, 1, None]


def metadata(names: object, origin: str) -> dict[str, str]:
    return {"mptq.class_names": json.dumps(names), "mptq.class_names_from": origin}


def test_the_names_of_a_file():
    assert classes_of_file({}) == (None, ())
    names, notes = classes_of_file(metadata(["b", "a"], "checkpoint"))
    assert names is not None and names.numbers == {"b": 0, "a": 1} and notes == ()
    for damaged in ({"mptq.class_names": "[1"}, metadata([1], "x"), metadata([], "x"), metadata("a", "x")):
        with pytest.raises(MptqError, match=r"mptq\.class_names"):
            classes_of_file(damaged)


def test_a_file_that_was_numbered_by_plain_sort_is_put_into_timms_order():
    folders = [str(number) for number in range(12)]
    names, notes = classes_of_file(metadata(sorted(folders), "calibration folders"))
    assert names is not None and names.numbers == {name: number for number, name in enumerate(folders)}
    assert len(notes) == 1 and "plain order (10 before 2)" in notes[0]
    for origin, stored in (("calibration folders", folders), ("checkpoint", sorted(folders))):
        names, notes = classes_of_file(metadata(stored, origin))
        assert names is not None and list(names.numbers) == stored and notes == ()

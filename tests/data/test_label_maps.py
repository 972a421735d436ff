"""Label maps: where they are looked for, and what they may hold."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mptq_export.data.label_maps import check_size, classes_of, find_label_maps, read_label_map
from mptq_export.support.errors import MptqError

VALUES = np.array([[0, 1, 2], [255, 3, 0]])


def saved(path: Path, mode: str = "L", values: np.ndarray = VALUES) -> Path:
    """An image of the values, in one of Pillow's modes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if mode == "I;16":
        Image.fromarray(values.astype(np.uint16)).save(path)
        return path
    image = Image.fromarray(values.astype(np.uint8))
    if mode == "P":
        image.putpalette([7] * 768)
    elif mode != "L":
        image = image.convert(mode)
    image.save(path)
    return path


@pytest.mark.parametrize("mode", ["L", "P", "I;16"])
def test_numbers_are_read_as_they_are_never_as_colours(tmp_path: Path, mode: str):
    assert read_label_map(saved(tmp_path / "a.png", mode)).tolist() == VALUES.tolist()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_colours_are_refused(tmp_path: Path, mode: str):
    with pytest.raises(MptqError, match="holds colours"):
        read_label_map(saved(tmp_path / "a.png", mode))


def test_classes_and_what_has_none():
    found, known = classes_of(Path("a"), VALUES, classes=4, first=0, ignore=255)
    assert found[known].tolist() == [0, 1, 2, 3, 0]
    assert known.tolist() == [[True, True, True], [False, True, True]]
    found, known = classes_of(Path("a"), VALUES, classes=3, first=1, ignore=255)
    assert found[known].tolist() == [0, 1, 2]


@pytest.mark.parametrize(("classes", "ignore", "told"), [(3, 255, "holds 3.*--first-label 1"), (4, 9, "holds 255")])
def test_a_number_of_no_class_is_refused(classes: int, ignore: int, told: str):
    with pytest.raises(MptqError, match=told):
        classes_of(Path("a"), VALUES, classes=classes, first=0, ignore=ignore)


def test_another_size_than_the_picture():
    check_size(Path("a"), (2, 3), VALUES)
    with pytest.raises(ValueError, match="it is 2x3, its label map 3x2"):
        check_size(Path("a"), (3, 2), VALUES)


def test_beside_the_pictures(tmp_path: Path):
    picture = saved(tmp_path / "in" / "a.jpg", "RGB")
    assert find_label_maps(tmp_path, None).maps == {}
    labels, other = saved(tmp_path / "in" / "a.png"), saved(tmp_path / "b.jpg", "RGB")
    found = find_label_maps(tmp_path, None)
    assert (found.maps, found.without) == ({picture: labels}, (other,))


@pytest.mark.parametrize("name", ["labels", "annotations", "masks"])
def test_in_a_folder_next_to_the_pictures(tmp_path: Path, name: str):
    picture, labels = saved(tmp_path / "images/x/a.png", "RGB"), saved(tmp_path / name / "x/a.png")
    found = find_label_maps(tmp_path, None)
    assert (found.folder, found.maps) == (tmp_path / "images", {picture: labels})


def test_in_a_folder_that_is_named(tmp_path: Path):
    picture, labels = saved(tmp_path / "val/a.jpg", "RGB"), saved(tmp_path / "said/a.png")
    assert find_label_maps(tmp_path / "val", tmp_path / "said").maps == {picture: labels}
    with pytest.raises(MptqError, match="is no folder"):
        find_label_maps(tmp_path / "val", tmp_path / "other")

"""Image folders: order, limit, labels, corrupt files."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mptq_export.data.images import ImageFolder
from mptq_export.data.preprocessing import Preprocessing
from mptq_export.support.errors import MptqError


def brightness(images: ImageFolder, size: int = 3) -> list[int]:
    return [round(float(image.mean()) / 10) for batch in images.batches(size) for image in batch]


def test_sorted_and_in_batches(folder: Path, preprocessing: Preprocessing):
    images = ImageFolder(folder, preprocessing, labels=False)
    batches = list(images.batches(3))
    assert [batch.shape for batch in batches] == [(3, 12, 12, 3), (3, 12, 12, 3), (2, 12, 12, 3)]
    assert all(batch.dtype == np.uint8 for batch in batches)
    assert brightness(images) == list(range(8))
    assert len(images) == 8
    assert (images.labels, images.folders, images.skipped) == (None, (("cat",), ("dog", "sub"), ("dog",)), {})
    assert images.warnings == ()


def test_more_images_than_are_read_ahead(tmp_path: Path, folder: Path, preprocessing: Preprocessing):
    source = (folder / "cat" / "0.png").read_bytes()
    many = tmp_path / "many"
    many.mkdir()
    for number in range(50):
        (many / f"{number:02d}.png").write_bytes(source)
    images = ImageFolder(many, preprocessing, labels=False)
    assert sum(len(batch) for batch in images.batches(7)) == 50
    next(images.batches(2))
    assert len(images) == 50


def test_a_limit_covers_the_classes(folder: Path, preprocessing: Preprocessing):
    images = ImageFolder(folder, preprocessing, limit=4, labels=True, logits=2)
    assert brightness(images) == [0, 2, 4, 6]
    assert images.labels is not None
    assert images.labels.tolist() == [0, 0, 1, 1]
    assert len(ImageFolder(folder, preprocessing, limit=100, labels=False)) == 8


def test_labels_are_the_sorted_class_folders(folder: Path, preprocessing: Preprocessing):
    images = ImageFolder(folder, preprocessing, labels=True, logits=2)
    assert images.numbering is not None and images.numbering.names == ("cat", "dog")
    assert images.labels is not None
    assert images.labels.tolist() == [0, 0, 0, 1, 1, 1, 1, 1]


def test_classes_do_not_depend_on_the_limit(folder: Path, preprocessing: Preprocessing):
    images = ImageFolder(folder, preprocessing, limit=1, labels=True, logits=2)
    assert images.numbering is not None and images.numbering.names == ("cat", "dog")


def test_an_image_outside_the_classes(folder: Path, preprocessing: Preprocessing):
    (folder / "cat" / "0.png").rename(folder / "stray.png")
    assert len(ImageFolder(folder, preprocessing, labels=False)) == 8
    with pytest.raises(MptqError, match=r"images lie in .* itself, in no class folder"):
        ImageFolder(folder, preprocessing, labels=True)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-40])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def overwrite(file: Path) -> None:
    file.write_text("not an image")


@pytest.mark.parametrize("damage", [truncate, empty, overwrite])
@pytest.mark.parametrize("name", ["cat/1.jpg", "dog/u.png"])
def test_a_corrupt_image_is_skipped(
    folder: Path,
    preprocessing: Preprocessing,
    damage: Callable[[Path], None],
    name: str,
    caplog: pytest.LogCaptureFixture,
):
    damage(folder / name)
    images = ImageFolder(folder, preprocessing, labels=False, allow_skipped=True)
    bad = {"cat/1.jpg": 1, "dog/u.png": 7}[name]
    good = [number for number in range(8) if number != bad]
    assert brightness(images) == good
    assert list(images.skipped) == [folder / name]
    assert len(images) == 7
    assert name in caplog.text
    assert brightness(images) == good
    assert len(images.skipped) == 1


def test_labels_leave_corrupt_images_out(folder: Path, preprocessing: Preprocessing):
    empty(folder / "cat" / "1.jpg")
    images = ImageFolder(folder, preprocessing, labels=True, logits=2, allow_skipped=True)
    assert images.labels is not None
    assert images.labels.tolist() == [0, 0, 1, 1, 1, 1, 1]
    assert brightness(images) == [0, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("labels", [True, False])
def test_none_left(folder: Path, preprocessing: Preprocessing, labels: bool):
    for file in folder.rglob("*.*"):
        empty(file)
    with pytest.raises(MptqError, match="none of the 8 images"):
        list(ImageFolder(folder, preprocessing, labels=labels, logits=2).batches(2))


def test_missing_empty_or_no_folder(tmp_path: Path, preprocessing: Preprocessing):
    with pytest.raises(MptqError, match="does not exist"):
        ImageFolder(tmp_path / "none", preprocessing, labels=False)
    with pytest.raises(MptqError, match="no images in"):
        ImageFolder(tmp_path, preprocessing, labels=False)
    file = tmp_path / "a.png"
    empty(file)
    with pytest.raises(MptqError, match="is not a folder"):
        ImageFolder(file, preprocessing, labels=False)


def test_unreadable(folder: Path, preprocessing: Preprocessing, monkeypatch: pytest.MonkeyPatch):
    scan = os.scandir

    def refuse(path: Any) -> Any:
        if Path(path).name == "sub":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(MptqError, match=r"cannot read image folder .*sub: Permission denied"):
        ImageFolder(folder, preprocessing, labels=False)


def test_linked_class_folders_count(tmp_path: Path, folder: Path, preprocessing: Preprocessing):
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "cat").symlink_to(folder / "cat")
    assert len(ImageFolder(linked, preprocessing, labels=True)) == 3


def test_more_than_a_tenth_left_out_is_refused_and_fewer_are_said(tmp_path: Path, preprocessing: Preprocessing):
    for number in range(20):
        Image.fromarray(np.full((16, 16, 3), 10 * number, np.uint8)).save(tmp_path / f"{number:02d}.png")
    empty(tmp_path / "03.png")
    (tmp_path / "05.png").rename(tmp_path / "05.heic")
    (tmp_path / "05.heic").write_bytes(b"\0\0\0\x18ftypheic")
    images = ImageFolder(tmp_path, preprocessing, labels=False)
    assert len(np.concatenate(list(images.batches(8)))) == 18
    assert images.warnings == (
        f"left out 2 of 20 images of {tmp_path} (03.png: not an image that Pillow reads; 05.heic: not an image that "
        "Pillow reads)",
    )
    truncate(tmp_path / "07.png")
    with pytest.raises(MptqError, match=r"3 of 20 images .* more than a tenth .*07\.png: .*; .*--allow-skipped"):
        list(ImageFolder(tmp_path, preprocessing, labels=False).batches(8))
    allowed = ImageFolder(tmp_path, preprocessing, labels=False, allow_skipped=True)
    assert len(np.concatenate(list(allowed.batches(8)))) == 17
    assert "left out 3 of 20" in allowed.warnings[0]


def test_the_raw_data_of_a_camera_is_not_its_preview(folder: Path, preprocessing: Preprocessing):
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(folder / "cat" / "a.dng", format="TIFF")
    images = ImageFolder(folder, preprocessing, labels=False, allow_skipped=True)
    assert brightness(images) == list(range(8))
    assert images.skipped == {folder / "cat" / "a.dng": "a camera's raw data, not an image"}


@pytest.mark.parametrize("name", [".ipynb_checkpoints", "__MACOSX", "@eaDir", "lost+found", ".git", "cat/.thumbs"])
def test_folders_that_are_no_data(folder: Path, preprocessing: Preprocessing, name: str):
    (folder / name).mkdir()
    (folder / name / "x.png").write_bytes((folder / "cat" / "0.png").read_bytes())
    images = ImageFolder(folder, preprocessing, labels=True, logits=2)
    assert len(images) == 8
    assert images.numbering is not None and images.numbering.names == ("cat", "dog")


def test_a_folder_linked_into_itself_is_walked_once(folder: Path, preprocessing: Preprocessing):
    (folder / "again").symlink_to(folder)
    (folder / "dog" / "up").symlink_to(folder / "dog")
    (folder / "cat" / "root").symlink_to(folder)
    assert len(ImageFolder(folder, preprocessing, labels=True, logits=2)) == 8


def test_small_images_are_said(folder: Path, preprocessing: Preprocessing):
    for size, said in (((36, 24), True), ((60, 50), True), ((40, 95), False)):
        how = Preprocessing((3, 160, 190), preprocessing.mean, preprocessing.std)
        for file in folder.rglob("*.*"):
            if file.suffix in {".png", ".jpg", ".JPEG"} and not file.name.startswith("."):
                Image.fromarray(np.zeros((*size[::-1], 3), np.uint8)).save(file)
        images = ImageFolder(folder, how, labels=False)
        list(images.batches(8))
        assert [f"are small ({size[0]}x{size[1]}), the model takes 190x160" in note for note in images.warnings] == (
            [True] if said else []
        )


def test_palettes_of_few_colours_are_said(folder: Path, preprocessing: Preprocessing):
    files = [file for file in folder.rglob("*.*") if file.suffix in {".png", ".jpg", ".JPEG"} and file.name[0] != "."]
    for file in files:
        file.unlink()
        labels = Image.fromarray(np.arange(400, dtype=np.uint8).reshape(20, 20) // 20)
        labels.putpalette([(37 * value) % 256 for value in range(60)])
        labels.save(file.with_suffix(".png"))
    images = ImageFolder(folder, preprocessing, labels=False)
    list(images.batches(8))
    assert images.warnings == (f"all images of {folder} are palettes of few colours: label masks?",)
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(files[0].with_suffix(".png"))
    images = ImageFolder(folder, preprocessing, labels=False)
    list(images.batches(8))
    assert images.warnings == ()

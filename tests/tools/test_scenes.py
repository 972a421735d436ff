"""Scenes of digits: the same for a seed, with boxes and masks that are right, as a folder that others read."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("sklearn", reason="the digits are scikit-learn's")

from tools.scenes.coco import ANNOTATIONS, annotations, run_lengths, write
from tools.scenes.digits import CLASSES, split_digits
from tools.scenes.draw import FEWEST_PIXELS, MOST, SIZE, Scenes, draw

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "detection"


def some(seed: int, count: int) -> Scenes:
    return draw(count, split_digits("test"), torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    """With a scene that is empty, and one of the most digits."""
    found = some(29, 8)
    assert {0, MOST} <= set(found.counts)
    return found


def test_a_seed_says_all(scenes: Scenes):
    again, other = some(29, 8), some(4, 8)
    assert all(
        torch.equal(getattr(scenes, name), getattr(again, name)) for name in ("images", "labels", "boxes", "masks")
    )
    assert scenes.counts == again.counts
    assert not torch.equal(scenes.images, other.images)


def test_boxes_are_the_edges_of_masks_which_share_no_pixel(scenes: Scenes):
    for row, count in enumerate(scenes.counts):
        masks = scenes.masks[row].numpy()
        assert masks.sum(0).max(initial=0) <= 1
        assert not masks[count:].any()
        assert (scenes.labels[row, count:] == -1).all()
        assert set(scenes.labels[row, :count].tolist()) <= set(range(CLASSES))
        for mask, box in zip(masks[:count], scenes.boxes[row].tolist(), strict=False):
            y, x = np.nonzero(mask)
            assert box == [x.min(), y.min(), x.max() + 1, y.max() + 1]
            assert len(x) >= FEWEST_PIXELS


def test_a_digit_differs_from_what_it_stands_on(scenes: Scenes):
    """By so much that its mask is on the digit and not beside it."""
    contrasts = []
    for image, count, masks in zip(scenes.images.float(), scenes.counts, scenes.masks, strict=True):
        for mask in masks[:count]:
            near = torch.nn.functional.max_pool2d(mask[None].float(), 9, 1, 4)[0].bool() & ~masks.any(0)
            contrasts.append((image[:, mask].mean(1) - image[:, near].mean(1)).abs().max().item())
    assert np.median(contrasts) > 40
    assert min(contrasts) > 5


def test_no_digit_is_in_both_parts():
    train, test = split_digits("train"), split_digits("test")
    assert (len(train.labels), len(test.labels)) == (1347, 450)
    assert not {one.tobytes() for one in train.ink.numpy()} & {one.tobytes() for one in test.ink.numpy()}
    assert set(test.labels.tolist()) == set(range(CLASSES))


def test_run_lengths():
    assert run_lengths(np.array([[0, 1], [1, 1]], bool)) == {"size": [2, 2], "counts": [1, 3]}
    assert run_lengths(np.array([[1, 0], [1, 0]], bool)) == {"size": [2, 2], "counts": [0, 2, 2]}
    assert run_lengths(np.zeros((2, 3), bool)) == {"size": [2, 3], "counts": [6]}


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # within pycocotools
def test_pycocotools_reads_the_folder(scenes: Scenes, tmp_path: Path):
    coco = pytest.importorskip("pycocotools.coco", reason="reads COCO's format")
    write(tmp_path, [scenes, some(4, 2)], "png")
    read = coco.COCO(tmp_path / ANNOTATIONS)
    assert read.getImgIds() == list(range(1, 11))
    assert [each["name"] for each in read.loadCats(read.getCatIds())] == list("0123456789")
    for row, count in enumerate(scenes.counts):
        (entry,) = read.loadImgs(row + 1)
        pixels = np.asarray(Image.open(tmp_path / "images" / entry["file_name"]))
        np.testing.assert_array_equal(pixels, scenes.images[row].permute(1, 2, 0).numpy())
        found = read.loadAnns(read.getAnnIds(row + 1))
        assert len(found) == count
        for place, one in enumerate(found):
            mask = scenes.masks[row, place].numpy()
            np.testing.assert_array_equal(read.annToMask(one), mask)
            assert one["area"] == mask.sum()
            left, top, width, height = one["bbox"]
            assert [left, top, left + width, top + height] == scenes.boxes[row, place].tolist()
            assert one["category_id"] == scenes.labels[row, place] + 1


@pytest.mark.parametrize(("folder", "count"), [("calib", 64), ("test", 24)])
def test_the_example_has_scenes_of_this_kind(folder: str, count: int):
    data = json.loads((EXAMPLE / folder / ANNOTATIONS).read_text())
    assert len(data["images"]) == count
    for entry in data["images"]:
        assert Image.open(EXAMPLE / folder / "images" / entry["file_name"]).size == (SIZE, SIZE)
    assert data["categories"] == annotations([])["categories"]
    empty = {entry["id"] for entry in data["images"]} - {one["image_id"] for one in data["annotations"]}
    assert empty, "no scene is empty"

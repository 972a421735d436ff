"""The images of the agreement: the same whatever was calibrated on, and held back where there are enough."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mptq_export.data.calibration import open_calibration
from mptq_export.data.comparison_images import FixedImages, open_fixed
from mptq_export.data.preprocessing import Preprocessing

PREPROCESSING = Preprocessing((3, 4, 4), (0.5,) * 3, (0.25,) * 3)


@pytest.fixture
def array(tmp_path: Path) -> Path:
    path = tmp_path / "x.npy"
    np.save(path, np.random.default_rng(0).uniform(-2, 2, (500, 3, 4, 4)).astype(np.float32))
    return path


def rows(images: FixedImages) -> np.ndarray:
    return np.concatenate(list(images.batches(7)))


@pytest.mark.parametrize(
    ("count", "chosen", "met"),
    [(8, 64, 0), (32, 64, 0), (100, 64, 0), (128, 64, 0), (470, 30, 0), (490, 64, 62), (500, 64, 64)],
)
def test_they_are_held_back_and_do_not_depend_on_the_calibration(array: Path, count: int, chosen: int, met: int):
    fixed = open_fixed(array, PREPROCESSING, count=64, calibrated=count)
    found = rows(fixed)
    assert (fixed.count, len(found), fixed.description) == (chosen, chosen, f"{chosen} of 500 inputs of {array}")
    same = np.array_equal(found, rows(open_fixed(array, PREPROCESSING, count=64, calibrated=1)))
    assert same == (count not in (100, 470))  # where they would be those that were calibrated on
    assert len(np.unique(found[:, 0, 0, 0])) == chosen
    taken = np.concatenate(list(open_calibration(array, PREPROCESSING, count=count).batches(8)))
    both = sum(any(np.array_equal(row, other) for other in taken) for row in found)
    assert fixed.calibrated == both == met


def test_all_of_a_small_source(array: Path):
    np.save(array, np.load(array)[:10])
    fixed = open_fixed(array, PREPROCESSING, count=64, calibrated=4)
    assert (fixed.count, fixed.calibrated, len(rows(fixed))) == (10, 4, 10)


def test_images_of_a_folder_without_the_corrupt_ones(tmp_path: Path):
    for i in range(12):
        Image.fromarray(np.full((4, 4, 3), 20 * i, np.uint8)).save(tmp_path / f"{i:02}.png")
    fixed = open_fixed(tmp_path, PREPROCESSING, count=4, calibrated=4)
    assert fixed.description == f"4 of 12 images of {tmp_path}" and fixed.calibrated == 0
    pixels = np.rint((rows(fixed)[:, 0, 0, 0] * 0.25 + 0.5) * 255)
    assert list(pixels) == [20, 80, 140, 200]
    (tmp_path / "04.png").write_bytes(b"damage")
    fixed = open_fixed(tmp_path, PREPROCESSING, count=4, calibrated=12)
    assert fixed.description == f"3 of 12 images of {tmp_path} (1 more cannot be read)"
    assert (fixed.count, fixed.calibrated, len(rows(fixed))) == (3, 3, 3)


def test_synthetic_images_are_others_than_those_of_the_calibration():
    fixed = open_fixed(None, PREPROCESSING, count=5, calibrated=5)
    (taken,) = open_calibration(None, PREPROCESSING, count=5).batches(5)
    found = rows(fixed)
    assert fixed.calibrated == 0 and found.shape == taken.shape
    assert not any(np.array_equal(row, other) for row in found for other in taken)

"""Where a picture lies in the input, and the way back: against torch's resizing and by hand."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from mptq_export.data.placement import Placement, corner, squash
from mptq_export.data.preprocessing import Preprocessing
from mptq_export.support.errors import MptqError


def picture(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.fixture
def cornered(preprocessing: Preprocessing) -> Preprocessing:
    return dataclasses.replace(preprocessing, input_size=(3, 24, 32), crop_mode="corner", crop_pct=1.0)


@pytest.mark.parametrize(
    ("size", "inside"),
    [
        ((24, 32), (24, 32)),
        ((48, 64), (24, 32)),
        ((12, 16), (24, 32)),
        ((100, 50), (24, 12)),
        ((50, 100), (16, 32)),
        ((1, 1000), (1, 32)),
        ((1000, 1), (24, 1)),
        ((37, 50), (24, 32)),
        ((37, 53), (22, 32)),
    ],
)
def test_the_picture_is_as_large_as_fits_with_its_sides_in_proportion(size: tuple[int, int], inside: tuple[int, int]):
    assert corner(size, (24, 32)) == Placement(size, inside, (24, 32))


@pytest.mark.parametrize("size", [(24, 32), (50, 37), (20, 90), (3, 400)])
def test_pixels_lie_where_the_placement_says_and_the_rest_is_the_mean(cornered: Preprocessing, size: tuple[int, int]):
    pixels = cornered.transform_uint8(picture(size[1], size[0]))
    rows, columns = cornered.placement(size).inside
    assert pixels.shape == (24, 32, 3)
    resized = np.asarray(picture(size[1], size[0]).resize((columns, rows), Image.Resampling.BICUBIC))
    assert np.array_equal(pixels[:rows, :columns], resized)
    mean = np.rint(255 * np.array(cornered.mean))
    assert (pixels[rows:] == mean).all()
    assert (pixels[:, columns:] == mean).all()
    assert np.abs(cornered.normalize(pixels[None])[0, :, rows:]).max(initial=0) < 0.01


def test_boxes_there_and_back():
    placed = corner((50, 100), (24, 32))
    boxes = np.array([[0, 0, 100, 50], [10, 20, 30, 45.5]])
    there = placed.to_input(boxes)
    assert np.allclose(there[0], [0, 0, 32, 16])
    assert np.allclose(placed.to_picture(there), boxes, atol=1e-4)
    beyond = np.array([[-3.2, 4, 40, 24]], np.float32)
    assert np.allclose(placed.to_picture(beyond), [[-10, 12.5, 125, 75]])
    assert placed.to_picture(np.zeros((0, 4), np.float32)).shape == (0, 4)


def test_a_squashed_map_goes_back_as_torch_resizes_it():
    values = np.random.default_rng(1).standard_normal((5, 6, 8)).astype(np.float32)
    for size in ((50, 37), (4, 5), (6, 8)):
        wanted = torch.nn.functional.interpolate(torch.from_numpy(values)[None], size, mode="bilinear")[0].numpy()
        assert np.allclose(squash(size, (24, 32)).map_to_picture(values), wanted, atol=1e-5)


def test_a_map_goes_back_without_the_filling():
    values = np.random.default_rng(1).standard_normal((5, 6, 8)).astype(np.float32)
    placed = corner((100, 50), (24, 32))  # 24 x 12 of the input, 6 x 3 of the map
    wanted = torch.nn.functional.interpolate(torch.from_numpy(values[None, :, :, :3]), (100, 50), mode="bilinear")
    assert np.allclose(placed.map_to_picture(values), wanted[0].numpy(), atol=1e-5)
    assert placed.map_to_picture(values, (10, 5)).shape == (5, 10, 5)


def test_no_way_back_from_what_cuts_off(preprocessing: Preprocessing, cornered: Preprocessing):
    for crop in ({"crop_mode": "center"}, {"crop_mode": "squash", "crop_pct": 0.9}, {"crop_mode": "border"}):
        cropped = dataclasses.replace(preprocessing, **{"crop_pct": 1.0, **crop})
        with pytest.raises(MptqError, match="--crop-mode corner"):
            cropped.placement((20, 20))
    squashed = dataclasses.replace(cornered, crop_mode="squash", resize_to=(24, 32))
    assert squashed.placement((5, 9)) == Placement((5, 9), (24, 32), (24, 32))
    assert not dataclasses.replace(squashed, resize_to=(30, 32)).shows_all
    for cut in ({"crop_pct": 0.9}, {"resize_to": (24, 32)}):
        with pytest.raises(MptqError, match="--crop-pct 1"):
            dataclasses.replace(cornered, **cut)


def test_one_channel_and_metadata(cornered: Preprocessing):
    grey = Preprocessing((1, 8, 8), (0.5,), (0.25,), crop_mode="corner", crop_pct=1.0)
    assert grey.transform_uint8(picture(20, 10))[4:].tolist() == [[[128]] * 8] * 4
    assert Preprocessing.from_metadata(cornered.to_metadata()) == cornered

"""RoIAlign over a pyramid, beside torchvision's."""

from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.poolers import LevelMapper

from mptq_export.detect.roi_align import pool, region_levels
from mptq_export.recipe.detector import Pooling

IMAGE = (192, 256)
POOLING = Pooling(("a", "b", "c"), (1 / 4, 1 / 8, 1 / 16), (7, 7), 2, 56, 3)
#: Sums of the same products in another order: of values near 1, whose sum is of at most a few dozen.
TOLERANCE = 5e-6


def theirs(pooling: Pooling, features: dict[str, np.ndarray], boxes: np.ndarray) -> np.ndarray:
    """What torchvision cuts out."""
    module = MultiScaleRoIAlign(
        list(pooling.levels),
        pooling.size,
        pooling.samples,
        canonical_scale=pooling.canonical_size,
        canonical_level=pooling.canonical_level,
    )
    given = OrderedDict((name, torch.from_numpy(values)[None]) for name, values in features.items())
    return module(given, [torch.from_numpy(boxes)], [IMAGE]).numpy()


@pytest.fixture(scope="module")
def features() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    shapes = {"a": (48, 64), "b": (24, 32), "c": (12, 16), "unread": (6, 8)}
    return {name: draw.normal(size=(5, *shape)).astype(np.float32) for name, shape in shapes.items()}


def random_boxes(count: int) -> np.ndarray:
    draw = np.random.default_rng(1)
    corner = draw.random((count, 2)) * (IMAGE[1], IMAGE[0])
    return np.concatenate((corner, corner + np.exp(draw.uniform(-1, 5.5, (count, 2)))), axis=1).astype(np.float32)


ADVERSARIAL = np.array(
    [
        [0, 0, 256, 192],  # all of it
        [0, 0, 0, 0],  # nothing
        [255.9, 191.9, 256, 192],  # the last pixel
        [-300, -300, -200, -200],  # outside
        [-20, -20, 10, 10],  # partly outside
        [250, 180, 400, 300],
        [500, 500, 600, 600],
        [10, 10, 10, 150],  # without width
        [0, 100, 256, 101],  # flat
        [7.999, 3.5, 63.999, 59.5],  # a side of 56: the border between two levels
        [8, 8, 64, 64],
        [8, 8, 63.99, 64],
        [-4, -4, 100, 100],  # samples that lie exactly on the border of what counts
        [0, 0, 3.9, 3.9],
        [1, 1, 2e3, 1e3],  # far larger than the image
    ],
    np.float32,
)


@pytest.mark.parametrize("samples", [2, 1, 3, 0])
@pytest.mark.parametrize("size", [(7, 7), (3, 5)])
def test_cuts_out_what_torchvision_does(features, samples: int, size: tuple[int, int]):
    pooling = replace(POOLING, size=size, samples=samples)
    for boxes in (random_boxes(40), ADVERSARIAL):
        ours, expected = pool(pooling, features, boxes), theirs(pooling, features, boxes)
        assert ours.shape == expected.shape
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, expected, rtol=0, atol=TOLERANCE)
        assert np.abs(expected).max() > 1


def test_one_level_is_read_whatever_the_size(features):
    pooling = replace(POOLING, levels=("b",), scales=(1 / 8,))
    boxes = random_boxes(20)
    np.testing.assert_allclose(pool(pooling, features, boxes), theirs(pooling, features, boxes), rtol=0, atol=TOLERANCE)


def test_no_region_gives_nothing(features):
    assert pool(POOLING, features, np.zeros((0, 4), np.float32)).shape == (0, 5, 7, 7)


def test_regions_go_to_the_levels_of_torchvision():
    mapper = LevelMapper(2, 5, 224, 4)
    pooling = Pooling(("2", "3", "4", "5"), (1 / 4, 1 / 8, 1 / 16, 1 / 32), (7, 7), 2, 224, 4)
    # Squares around every border between levels, in steps of one float32, and any size.
    near = [np.float32(224 * 2.0**octave) for octave in range(-4, 4)]
    sides = [np.float32(side * (1 + step * 2.0**-23)) for side in near for step in range(-12, 13)]
    sides += list(np.random.default_rng(0).uniform(0, 2000, 20_000).astype(np.float32))
    boxes = np.zeros((len(sides), 4), np.float32)
    boxes[:, 2:] = np.array(sides)[:, None]
    expected = mapper([torch.from_numpy(boxes)]).numpy()
    assert set(expected) == {0, 1, 2, 3}
    assert np.array_equal(region_levels(pooling, boxes), expected)

"""Anchors, decoding, clipping and suppression of boxes, beside torchvision's."""

import numpy as np
import pytest
import torch
from torchvision.models.detection._utils import BoxCoder, BoxLinearCoder
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import batched_nms, clip_boxes_to_image, nms, remove_small_boxes

from mptq_export.detect.boxes import at_least, clip, decode_deltas, decode_distances, level_anchors
from mptq_export.detect.suppression import MOST_TOGETHER, suppress, suppress_in_groups
from mptq_export.recipe.detector import Level


def random_boxes(count: int, seed: int = 0, size: float = 60) -> np.ndarray:
    draw = np.random.default_rng(seed)
    corner = draw.random((count, 2)) * 200
    return np.concatenate((corner, corner + draw.random((count, 2)) * size), axis=1).astype(np.float32)


def test_anchors_are_those_of_torchvision():
    generator = AnchorGenerator(((32, 45, 57), (128,)), ((0.5, 1.0, 2.0),) * 2)
    sizes = ((13, 20), (7, 10))
    images = ImageList(torch.zeros(1, 3, 104, 162), [(104, 162)])
    expected = generator(images, [torch.zeros(1, 1, *size) for size in sizes])[0].numpy()
    levels = [
        Level("", size, (104 // size[0], 162 // size[1]), tuple(map(tuple, cell.tolist())))
        for size, cell in zip(sizes, generator.cell_anchors, strict=True)
    ]
    assert np.array_equal(np.concatenate([level_anchors(level) for level in levels]), expected)


def test_deltas_are_decoded_as_by_torchvision():
    weights = (10.0, 10.0, 5.0, 5.0)
    boxes = random_boxes(2000)
    boxes[:50, 2:] = boxes[:50, :2]  # without area
    deltas = (np.random.default_rng(1).normal(size=(2000, 4)) * 20).astype(np.float32)  # some beyond the largest growth
    expected = BoxCoder(weights).decode_single(torch.from_numpy(deltas), torch.from_numpy(boxes)).numpy()
    ours = decode_deltas(deltas, boxes, weights)
    # exp differs in its last bits; it is multiplied by half of the size.
    np.testing.assert_allclose(ours, expected, rtol=3e-7, atol=4e-5)
    assert (deltas[:, 2:] / 5 > 4.2).any()


def test_distances_are_decoded_as_by_torchvision():
    boxes = random_boxes(2000)
    distances = np.random.default_rng(1).normal(size=(2000, 4)).astype(np.float32)
    expected = BoxLinearCoder().decode(torch.from_numpy(distances), torch.from_numpy(boxes)).numpy()
    assert np.array_equal(decode_distances(distances, boxes), expected)


def test_boxes_are_cut_and_dropped_as_by_torchvision():
    boxes = random_boxes(500) - np.float32(50)
    boxes[:20, 2:] = boxes[:20, :2] + np.float32(10)  # sides of ten, as far as float32 has them
    expected = clip_boxes_to_image(torch.from_numpy(boxes), (100, 130))
    assert np.array_equal(clip(boxes, (100, 130)), expected.numpy())
    for given in (boxes, expected.numpy()):
        for side in (10.0, 0.01, 1e-3, 0.0):
            kept = remove_small_boxes(torch.from_numpy(given), side).numpy()
            assert np.array_equal(np.flatnonzero(at_least(given, side)), kept)


CROWDS = {
    "random": random_boxes(700),
    "one place": random_boxes(700, size=1) % np.float32(3),
    "all the same": np.tile(random_boxes(1), (300, 1)),
    "no area": np.repeat(random_boxes(100)[:, :2], 2, axis=0)[:, [0, 1, 0, 1]],
    "whole numbers": np.round(random_boxes(900)),  # many overlaps that are exactly a threshold
    "one": random_boxes(1),
    "none": np.zeros((0, 4), np.float32),
    "many": random_boxes(1200),
}


@pytest.mark.parametrize("name", CROWDS)
@pytest.mark.parametrize("ties", [False, True])
def test_suppression_keeps_what_torchvision_keeps(name: str, ties: bool):
    boxes = CROWDS[name]
    scores = np.random.default_rng(3).random(len(boxes)).astype(np.float32)
    if ties:
        scores = np.round(scores * 5) / np.float32(5)
    groups = np.random.default_rng(4).integers(0, 7, len(boxes))
    for overlap in (0.5, 0.6, 0.7, 1 / 3, 0.0, 1.0):
        expected = nms(torch.from_numpy(boxes), torch.from_numpy(scores), overlap).numpy()
        assert np.array_equal(suppress(boxes, scores, overlap), expected)
        given = (torch.from_numpy(boxes), torch.from_numpy(scores), torch.from_numpy(groups), overlap)
        ours, expected = suppress_in_groups(boxes, scores, groups, overlap), batched_nms(*given).numpy()
        if len(boxes) > MOST_TOGETHER:  # torchvision sorts these once more, with equal scores in any order
            assert np.array_equal(np.sort(ours), np.sort(expected))
            ours, expected = scores[ours], scores[expected]
        assert np.array_equal(ours, expected)


def test_the_border_between_two_ways_of_suppression_is_that_of_torchvision():
    # 200 classes, far enough apart for float32 to lose digits of a box.
    draw = np.random.default_rng(0)
    for count in (MOST_TOGETHER, MOST_TOGETHER + 1):
        boxes = np.round(random_boxes(count, size=8) * 8) / np.float32(8)
        scores = draw.random(count).astype(np.float32)
        groups = draw.choice([0, 7, 199], count)
        given = (torch.from_numpy(boxes), torch.from_numpy(scores), torch.from_numpy(groups), 0.3)
        assert np.array_equal(suppress_in_groups(boxes, scores, groups, 0.3), batched_nms(*given).numpy())

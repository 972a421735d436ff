"""Proposals, results of the box head and masks, beside torchvision's own."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.roi_heads import RoIHeads, maskrcnn_inference, paste_masks_in_image
from torchvision.models.detection.rpn import RegionProposalNetwork

from mptq_export.detect.box_results import box_results
from mptq_export.detect.boxes import level_anchors
from mptq_export.detect.mask_results import mask_maps, paste
from mptq_export.detect.proposals import proposals
from mptq_export.recipe.detector import Selection
from tests.detect.described import NAMES, RCNN, outputs

INSIDE = (96, 120)


def their_proposals(detector, given: dict[str, np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    selection = detector.selection
    rpn = RegionProposalNetwork(
        None,
        None,
        *(0.7, 0.3, 256, 0.5),
        pre_nms_top_n={"training": 0, "testing": selection.candidates},
        post_nms_top_n={"training": 0, "testing": selection.kept},
        nms_thresh=selection.overlap,
        score_thresh=selection.score,
    ).eval()
    rpn.min_size = detector.smallest
    logits = np.concatenate([given[f"objectness.{name}"] for name in NAMES], axis=1)
    deltas = np.concatenate([given[f"deltas.{name}"] for name in NAMES], axis=1)
    anchors = torch.from_numpy(np.concatenate([level_anchors(level) for level in detector.levels]))
    batch, count, _ = deltas.shape
    boxes = rpn.box_coder.decode(torch.from_numpy(deltas.reshape(-1, 4)), [anchors] * batch).view(batch, count, 4)
    each = [given[f"objectness.{name}"].shape[1] for name in NAMES]
    found = rpn.filter_proposals(boxes, torch.from_numpy(logits), [INSIDE] * batch, each)
    return [(boxes.numpy(), scores.numpy()) for boxes, scores in zip(*found, strict=True)]


@pytest.mark.parametrize(
    "detector",
    [
        RCNN,
        replace(RCNN, selection=Selection(0.5, 20, 0.5, 10)),
        replace(RCNN, selection=Selection(0.0, 5000, 0.7, 1000), smallest=4.0),
    ],
    ids=["usual", "few", "many"],
)
def test_proposals_are_those_of_torchvision(detector):
    given = outputs(detector, 2, seed=5)
    for number, (boxes, scores) in enumerate(their_proposals(detector, given)):
        ours = proposals(detector, {name: values[number] for name, values in given.items()}, INSIDE)
        assert 0 < len(boxes) == len(ours)
        np.testing.assert_allclose(ours.boxes, boxes, rtol=1e-6, atol=2e-5)
        np.testing.assert_allclose(ours.scores, scores, rtol=0, atol=2e-7)


def test_no_proposal_is_large_enough():
    given = {name: values[0] for name, values in outputs(RCNN, 1, seed=5).items()}
    assert len(proposals(replace(RCNN, smallest=500.0), given, INSIDE)) == 0


def boxes_of(count: int, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    corner = draw.random((count, 2)) * (INSIDE[1], INSIDE[0]) * 0.8
    return np.concatenate((corner, corner + draw.random((count, 2)) * 40 + 1), axis=1).astype(np.float32)


@pytest.mark.parametrize("count", [60, 0])
@pytest.mark.parametrize("score", [0.05, 0.0, 0.9999])
def test_results_of_the_box_head_are_those_of_torchvision(count: int, score: float):
    regions = replace(RCNN.regions, selection=Selection(score, 1, 0.5, 25))
    draw = np.random.default_rng(7)
    scores = (2 * draw.normal(size=(count, 5))).astype(np.float32)
    deltas = draw.normal(size=(count, 20)).astype(np.float32)
    deltas[: count // 4] *= -40  # collapsed, or far outside
    boxes = boxes_of(count)
    settings = SimpleNamespace(
        box_coder=BoxCoder(regions.box_weights), score_thresh=score, nms_thresh=0.5, detections_per_img=25
    )
    given = (torch.from_numpy(scores), torch.from_numpy(deltas), [torch.from_numpy(boxes)], [INSIDE])
    expected = [values[0].numpy() for values in RoIHeads.postprocess_detections(settings, *given)]
    ours = box_results(regions, {"scores": scores, "deltas": deltas}, boxes, INSIDE)
    np.testing.assert_allclose(ours.boxes, expected[0], rtol=1e-6, atol=2e-5)
    np.testing.assert_allclose(ours.scores, expected[1], rtol=0, atol=3e-7)
    assert np.array_equal(ours.labels, expected[2])
    assert (len(ours) > 0) == (count > 0 and score < 0.5)


def test_masks_are_those_of_torchvision():
    size = (70, 110)
    draw = np.random.default_rng(9)
    logits = (4 * draw.normal(size=(12, 5, 28, 28))).astype(np.float32)
    labels = draw.integers(1, 5, 12)
    boxes = np.array(
        [
            [10, 10, 50, 60],
            [0, 0, 110, 70],
            [-30, -20, 20, 30],  # partly outside
            [90, 50, 200, 300],
            [200, 200, 220, 230],  # outside
            [30, 30, 30, 30],  # a point
            [30.4, 30.6, 31.2, 31.1],
            [5, 20, 105, 20.5],  # flat
            [50, 0, 50.3, 70],
            [-500, -500, 1000, 900],  # far larger than the picture
            [33.3, 22.2, 77.7, 66.6],
        ],
        np.float32,
    )
    (small,) = maskrcnn_inference(torch.from_numpy(logits), [torch.from_numpy(labels)])
    ours = mask_maps(logits, labels)
    np.testing.assert_allclose(ours, small[:, 0].numpy(), rtol=0, atol=2e-7)
    expected = paste_masks_in_image(small, torch.from_numpy(boxes), size)[:, 0].numpy()
    for number, box in enumerate(boxes):
        # Places on the small map differ in their last bit, of numbers up to 30.
        np.testing.assert_allclose(paste(ours[number], box, size), expected[number], rtol=0, atol=1e-5)
    assert (expected > 0.5).any(axis=(1, 2)).sum() >= 7
    # torchvision stops at a box that ends left of the picture; after clipping there is none.
    assert not paste(ours[0], np.array([-80, -90, -20, -10], np.float32), size).any()

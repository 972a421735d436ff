"""What FCOS, RetinaNet, DETR and YOLOS found, beside torchvision's and transformers' own code."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torchvision.models import detection
from torchvision.models.detection._utils import BoxCoder, BoxLinearCoder

from mptq_export.data.placement import Placement
from mptq_export.detect.boxes import level_anchors
from mptq_export.detect.found import Found
from mptq_export.detect.glue import Networks, detect
from mptq_export.detect.numbers import highest
from mptq_export.detect.one_stage import one_stage
from mptq_export.recipe.detector import Detector, Selection
from tests.detect.described import FCOS, IMAGE, NAMES, RETINANET, SET, outputs

INSIDE = (90, 128)
#: Sigmoids of torch and NumPy differ in their last bit.
SCORES = 2e-7


def theirs(described: Detector, given: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """What torchvision makes of a batch."""
    library = detection.FCOS if described.family == "fcos" else detection.RetinaNet
    settings = SimpleNamespace(
        score_thresh=described.selection.score,
        topk_candidates=described.selection.candidates,
        nms_thresh=described.selection.overlap,
        detections_per_img=described.selection.kept,
        box_coder=BoxLinearCoder() if described.family == "fcos" else BoxCoder(described.box_weights),
    )

    def of_levels(kind: str) -> list[torch.Tensor]:
        return [torch.from_numpy(given[f"{kind}.{name}"]) for name in NAMES]

    heads = {"cls_logits": of_levels("scores"), "bbox_regression": of_levels("boxes")}
    if described.family == "fcos":
        heads["bbox_ctrness"] = of_levels("centerness")
    batch = len(given[f"scores.{NAMES[0]}"])
    anchors = [torch.from_numpy(level_anchors(level).copy()) for level in described.levels]
    found = library.postprocess_detections(settings, heads, [anchors] * batch, [INSIDE] * batch)
    return [{name: value.numpy() for name, value in each.items()} for each in found]


def assert_same(ours: Found, expected: dict[str, np.ndarray]) -> None:
    assert np.array_equal(ours.labels, expected["labels"])
    np.testing.assert_allclose(ours.scores, expected["scores"], rtol=0, atol=SCORES)
    np.testing.assert_allclose(ours.boxes, expected["boxes"], rtol=1e-6, atol=1e-5)


CASES = {
    "fcos": FCOS,
    "retinanet": RETINANET,
    "fcos, few": replace(FCOS, selection=Selection(0.6, 5, 0.3, 3)),
    "fcos, all": replace(FCOS, selection=Selection(0.0, 10_000, 0.6, 5000)),  # so many that groups are apart
    "retinanet, weights": replace(RETINANET, box_weights=(10.0, 10.0, 5.0, 5.0)),
    "fcos, none": replace(FCOS, selection=Selection(0.999, 100, 0.6, 20)),
}


@pytest.mark.parametrize("name", CASES)
def test_one_stage_finds_what_torchvision_does(name: str):
    detector = CASES[name]
    given = outputs(detector, 3, seed=0)
    for number, expected in enumerate(theirs(detector, given)):
        ours = one_stage(detector, {key: values[number] for key, values in given.items()}, INSIDE)
        assert_same(ours, expected)
        assert (len(ours) > 0) == ("none" not in name)
        assert ours.boxes.dtype == ours.scores.dtype == np.float32


def test_equal_scores_are_taken_in_order():
    """Codes have few values: torch leaves open which of equal ones are in, TopK of ONNX and we take the first."""
    values = np.array([1, 3, 2, 3, 3, 0, 3], np.float32)
    assert list(highest(values, 3)) == [1, 3, 4]
    assert list(highest(values, 5)) == [1, 3, 4, 6, 2]
    assert list(highest(values, 7)) == [1, 3, 4, 6, 2, 0, 5]
    assert list(highest(values[:0], 3)) == list(highest(values, 0)) == []


def test_equal_scores_are_suppressed_as_by_torchvision():
    detector = replace(FCOS, selection=Selection(0.2, 10_000, 0.6, 20))  # all are candidates: no choice is left open
    given = outputs(detector, 1, seed=2)
    given = {key: np.round(values * 2) / np.float32(2) for key, values in given.items()}
    (expected,) = theirs(detector, given)
    ours = one_stage(detector, {key: values[0] for key, values in given.items()}, INSIDE)
    assert len(np.unique(ours.scores)) < len(ours.scores)
    np.testing.assert_allclose(np.sort(ours.scores), np.sort(expected["scores"]), rtol=0, atol=SCORES)


def test_set_prediction_is_that_of_transformers():
    processing = pytest.importorskip("transformers", reason="transformers is an extra").DetrImageProcessor()
    given = outputs(SET, 3, seed=1)
    pictures = [(480, 640), (96, 128), (33, 77)]
    found = detect(
        SET,
        Networks(lambda _: given),
        np.zeros((3, 3, *IMAGE), np.float32),
        [Placement(p, IMAGE, IMAGE) for p in pictures],
    )
    raw = SimpleNamespace(**{name: torch.from_numpy(values) for name, values in given.items()})
    expected = processing.post_process_object_detection(raw, threshold=SET.selection.score, target_sizes=pictures)
    for ours, each in zip(found, expected, strict=True):
        order = np.argsort(-each["scores"].numpy(), kind="stable")[: SET.selection.kept]
        assert 0 < len(order) < 20
        assert np.array_equal(ours.labels, each["labels"].numpy()[order])
        np.testing.assert_allclose(ours.scores, each["scores"].numpy()[order], rtol=0, atol=SCORES)
        np.testing.assert_allclose(ours.boxes, each["boxes"].numpy()[order], rtol=1e-6, atol=1e-5)

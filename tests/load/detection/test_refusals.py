"""Detectors that cannot be described, or cannot take such images: one line, before anything is calibrated."""

from collections.abc import Callable
from typing import Any

import pytest
import tiny_detectors
import torch
from tiny_detectors import SIZE
from torch import nn
from torchvision.models import detection
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import RoIPool

from mptq_export.load.run import load
from mptq_export.support.errors import MptqError


class OwnResults(detection.FCOS):
    """Gives boxes in a way of its own."""

    def postprocess_detections(self, *given: Any) -> Any:
        return super().postprocess_detections(*given)


class Moved(AnchorGenerator):
    """Anchors in the middle of a position."""

    def grid_anchors(self, *given: Any) -> Any:
        return [each + 2 for each in super().grid_anchors(*given)]


def _with_class(made: Any, kind: type) -> Any:
    made.__class__ = kind
    return made


def _changed(make: Callable[[], Any], path: str, value: Any) -> Callable[[], Any]:
    def changed() -> Any:
        detector = make()
        *owner, last = path.split(".")
        part = detector
        for name in owner:
            part = getattr(part, name)
        setattr(part, last, value)
        return detector

    return changed


def _fewer_anchors() -> Any:
    detector = tiny_detectors.retinanet()
    detector.anchor_generator = tiny_detectors.anchors(2)
    return detector


def _keypoints() -> Any:
    return detection.keypointrcnn_resnet50_fpn(weights=None, weights_backbone=None)


MASK, FCOS = tiny_detectors.mask_rcnn, tiny_detectors.fcos


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None),
            "SSD of torchvision cannot",
        ),
        (_keypoints, "KeypointRCNN gives keypoints"),
        (lambda: _with_class(FCOS(), OwnResults), "OwnResults has its own postprocess_detections"),
        (_changed(FCOS, "anchor_generator", Moved(((8,), (16,), (32,), (64,)), ((1.0,),) * 4)), "anchors of Moved"),
        (_changed(FCOS, "anchor_generator", tiny_detectors.anchors(3)), "for 3 maps, and the backbone gives 4"),
        (_changed(FCOS, "anchor_generator", nn.Identity()), "anchors of Identity cannot be described"),
        (_changed(FCOS, "box_coder", BoxCoder((1.0, 1.0, 1.0, 1.0))), "decodes boxes by a BoxCoder"),
        (_changed(MASK, "rpn.box_coder", BoxCoder((1.0, 1.0, 1.0, 1.0), 2.0)), "decodes boxes by a BoxCoder"),
        (_changed(MASK, "roi_heads.box_roi_pool", RoIPool(3, 0.25)), "cuts regions out by a RoIPool"),
        (
            _changed(MASK, "roi_heads.box_roi_pool.featmap_names", ["0", "9"]),
            "out of the map 9, and its backbone gives",
        ),
        (_changed(FCOS, "head.regression_head", nn.Identity()), "cannot take the maps|gives no"),
        (_changed(FCOS, "backbone", nn.Conv2d(3, 8, 3)), "for 4 maps, and the backbone gives 1"),
        (_changed(FCOS, "backbone.body", nn.Conv2d(4, 8, 3)), "takes no images of 32x32 with 3 channels"),
        (_fewer_anchors, "make it for the anchors that its generator gives"),
        (_changed(MASK, "roi_heads.box_predictor.bbox_pred", nn.Linear(16, 4)), "must give four deltas a score"),
    ],
)
def test_what_cannot_be_described(make: Callable[[], Any], words: str):
    with pytest.raises(MptqError, match=words) as refused:
        load(make(), img_size=SIZE)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "nothing says which images FCOS takes; give --img-size"),
        ({"img_size": 72}, "pads images to multiples of 32 pixels, and 72x72 is none; give --img-size 96x96"),
        ({"img_size": 96}, "takes no images of 96x96"),
        ({"img_size": SIZE, "output": "logits"}, "outputs have known kinds"),
        ({"img_size": SIZE, "arch": "vit_tiny_patch16_224"}, "leave --arch out"),
        ({"img_size": SIZE, "class_names": ["cat"]}, "1 class names are given, and FCOS has 3 classes"),
        ({"img_size": SIZE, "outputs": ["scores.9"]}, "no such output; it has scores.0"),
    ],
)
def test_what_nobody_says_or_what_does_not_fit(options: dict[str, Any], words: str):
    with pytest.raises(MptqError, match=words):
        load(FCOS(), **options)


def test_a_module_that_is_no_detector_is_taken_as_it_is():
    module = nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.Flatten(), nn.Linear(16, 3))
    loaded = load(module, input_size=(3, 16, 16), mean=0.5, std=0.5)
    assert (loaded.library, loaded.detector) == ("module", None)
    assert torch.is_tensor(loaded.model(torch.zeros(1, 3, 16, 16)))

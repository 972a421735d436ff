"""Tiny detectors of torchvision with a Swin of timm as the backbone: random weights, 32 x 32 pixels, three classes."""

from collections import OrderedDict
from functools import partial
from typing import Any

import timm
import torch
from torch import nn
from torchvision.models.detection import FCOS, FasterRCNN, MaskRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.fcos import FCOSClassificationHead, FCOSHead, FCOSRegressionHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock, LastLevelMaxPool, LastLevelP6P7

SIZE = 32
CLASSES = 3
CHANNELS = 8
_GROUPS = partial(nn.GroupNorm, 4)


class Pyramid(nn.Module):
    """A Swin of two stages and an FPN: maps `0` and `1` of 8 and 4 positions, and what an extra block adds."""

    def __init__(self, extra: ExtraFPNBlock | None = None) -> None:
        super().__init__()
        self.body = timm.create_model(
            "swin_tiny_patch4_window7_224",
            features_only=True,
            out_indices=(0, 1),
            img_size=SIZE,
            embed_dim=16,
            depths=(1, 1),
            num_heads=(2, 2),
            window_size=4,
        )
        self.fpn = FeaturePyramidNetwork(self.body.feature_info.channels(), CHANNELS, extra)
        self.out_channels = CHANNELS

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        maps = enumerate(self.body(x))
        found: dict[str, torch.Tensor] = self.fpn(OrderedDict((str(i), m.permute(0, 3, 1, 2)) for i, m in maps))
        return found


def anchors(levels: int, ratios: tuple[float, ...] = (1.0,)) -> AnchorGenerator:
    """Twice as large on each level."""
    return AnchorGenerator(tuple((8 * 2**i,) for i in range(levels)), (ratios,) * levels)


def fcos(**options: Any) -> FCOS:
    """Four levels, group norm in the heads."""
    return _fcos(4, **options)


def small_fcos(**options: Any) -> FCOS:
    """The same of two levels, which exports twice as fast."""
    return _fcos(2, **options)


def _fcos(levels: int, **options: Any) -> FCOS:
    torch.manual_seed(0)
    head = FCOSHead(32, 1, CLASSES, num_convs=1)  # torchvision's own norm wants 32 channels
    head.classification_head = FCOSClassificationHead(CHANNELS, 1, CLASSES, 1, norm_layer=_GROUPS)
    head.regression_head = FCOSRegressionHead(CHANNELS, 1, 1, norm_layer=_GROUPS)
    backbone = Pyramid(LastLevelP6P7(CHANNELS, CHANNELS) if levels > 2 else None)
    return _spread(FCOS(backbone, CLASSES, anchor_generator=anchors(levels), head=head, **options), "head")


def retinanet(**options: Any) -> RetinaNet:
    """Two levels, two anchors a position."""
    torch.manual_seed(1)
    generator = anchors(2, (0.5, 2.0))
    head = RetinaNetHead(CHANNELS, 2, CLASSES, norm_layer=_GROUPS)
    return _spread(RetinaNet(Pyramid(), CLASSES, anchor_generator=generator, head=head, **options), "head")


def faster_rcnn(**options: Any) -> FasterRCNN:
    """Three levels for proposals, regions of two."""
    torch.manual_seed(2)
    return _spread(FasterRCNN(Pyramid(LastLevelMaxPool()), **{**_first_stage(), **options}), "rpn", "roi_heads")


def mask_rcnn(**options: Any) -> MaskRCNN:
    """The same with a mask head of one convolution and a transposed one."""
    torch.manual_seed(3)
    masks = {
        "mask_roi_pool": MultiScaleRoIAlign(["0", "1"], 6, 2, canonical_scale=32, canonical_level=2),
        "mask_head": MaskRCNNHeads(CHANNELS, (CHANNELS,), 1),
        "mask_predictor": MaskRCNNPredictor(CHANNELS, CHANNELS, CLASSES + 1),
    }
    return _spread(MaskRCNN(Pyramid(LastLevelMaxPool()), **{**_first_stage(), **masks, **options}), "rpn", "roi_heads")


def _first_stage() -> dict[str, Any]:
    return {
        "min_size": SIZE,
        "max_size": SIZE,
        "rpn_anchor_generator": anchors(3, (0.5, 2.0)),
        "rpn_head": RPNHead(CHANNELS, 2),
        "rpn_pre_nms_top_n_test": 60,
        "rpn_post_nms_top_n_test": 20,
        "box_roi_pool": MultiScaleRoIAlign(["0", "1"], 3, 2, canonical_scale=32, canonical_level=2),
        "box_head": TwoMLPHead(CHANNELS * 9, 16),
        "box_predictor": FastRCNNPredictor(16, CLASSES + 1),
        "box_score_thresh": 0.2,
    }


def _spread(detector: Any, *parts: str) -> Any:
    """Weights of the heads that are large enough for results that differ."""
    for name, parameter in detector.named_parameters():
        if name.startswith(parts) and parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.15)
    return detector.eval()

"""Losses of torchvision's detectors, straight from a batch of scenes.

Their own `forward` normalises and resizes image by image, which takes longer than such a small network; here a batch is
normalised at once. All else is theirs.
"""

from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection.image_list import ImageList

from tools.scenes.draw import SIZE, Scenes


def normalised(pixels: Tensor) -> Tensor:
    """Bytes to -1..1, as all the demo's detectors have it: float32."""
    return pixels.float() / 127.5 - 1


def targets_of(scenes: Scenes, first_label: int) -> list[dict[str, Tensor]]:
    """What torchvision trains on: boxes in pixels, labels counted from `first_label`, masks as bytes."""
    return [
        {
            "boxes": scenes.boxes[row, :count],
            "labels": scenes.labels[row, :count] + first_label,
            "masks": scenes.masks[row, :count].to(torch.uint8),
        }
        for row, count in enumerate(scenes.counts)
    ]


def fcos_loss(model: Any, scenes: Scenes) -> dict[str, Tensor]:
    """The three losses of FCOS, each a scalar."""
    images = normalised(scenes.images)
    features = list(model.backbone(images).values())
    outputs = model.head(features)
    anchors = model.anchor_generator(ImageList(images, [(SIZE, SIZE)] * len(images)), features)
    per_level = [x.shape[2] * x.shape[3] for x in features]
    losses: dict[str, Tensor] = model.compute_loss(targets_of(scenes, 0), outputs, anchors, per_level)
    return losses


def mask_rcnn_loss(model: Any, scenes: Scenes) -> dict[str, Tensor]:
    """The five losses of Mask R-CNN, each a scalar."""
    images = normalised(scenes.images)
    targets = targets_of(scenes, 1)
    sizes = [(SIZE, SIZE)] * len(images)
    features = model.backbone(images)
    proposals, proposal_losses = model.rpn(ImageList(images, sizes), features, targets)
    _, detection_losses = model.roi_heads(features, proposals, sizes, targets)
    return {**proposal_losses, **detection_losses}

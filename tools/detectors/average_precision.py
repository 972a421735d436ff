"""COCO's AP of a float detector on scenes, by pycocotools."""

import contextlib
import io
from typing import Any

import numpy as np
import torch
from pycocotools import mask as run_length
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor, nn

from tools.detectors.torchvision_losses import normalised
from tools.detectors.yolos_loss import corners
from tools.scenes.coco import annotations
from tools.scenes.draw import SIZE, Scenes


@torch.no_grad()
def detections(name: str, model: nn.Module, images: Tensor) -> list[dict[str, Tensor]]:
    """What a detector finds on bytes [B, 3, SIZE, SIZE]: boxes, scores, labels 0..9, of Mask R-CNN masks too."""
    if name == "yolos":
        outputs = model(normalised(images))
        scores, labels = outputs.logits.softmax(-1)[..., :-1].max(-1)
        boxes = corners(outputs.pred_boxes).clamp(0, 1) * SIZE
        return [{"boxes": b, "scores": s, "labels": c} for b, s, c in zip(boxes, scores, labels, strict=True)]
    found: list[dict[str, Tensor]] = model(list(images.float() / 255))
    if name == "mask_rcnn":
        return [{**one, "labels": one["labels"] - 1} for one in found]
    return found


def results(image: int, found: dict[str, Tensor]) -> list[dict[str, Any]]:
    """Detections on one image in COCO's results format."""
    found = {key: value.cpu() for key, value in found.items()}
    boxes = torch.cat([found["boxes"][:, :2], found["boxes"][:, 2:] - found["boxes"][:, :2]], 1).tolist()
    rows = [
        {"image_id": image, "category_id": label + 1, "bbox": box, "score": score}
        for box, score, label in zip(boxes, found["scores"].tolist(), found["labels"].tolist(), strict=True)
    ]
    if "masks" in found:
        for row, mask in zip(rows, (found["masks"][:, 0] > 0.5).numpy(), strict=True):
            row["segmentation"] = run_length.encode(np.asfortranarray(mask.astype(np.uint8)))
    return rows


def average_precision(name: str, model: nn.Module, scenes: list[Scenes], device: torch.device) -> dict[str, float]:
    """Box AP (0.50:0.95), AP50 and AP75 in per cent, and of Mask R-CNN the same of masks."""
    model.eval()
    found: list[dict[str, Any]] = []
    number = 0
    for part in scenes:
        for image in detections(name, model, part.images.to(device)):
            number += 1
            found += results(number, image)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = annotations(scenes)
        truth.createIndex()
        figures: dict[str, float] = {}
        for kind, word in (("bbox", "box"), ("segm", "mask")):
            if kind == "segm" and name != "mask_rcnn":
                continue
            if not found:
                return {f"{word} AP": 0.0}
            evaluation = COCOeval(truth, truth.loadRes([dict(row) for row in found]), kind)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            for place, label in enumerate(("AP", "AP50", "AP75")):
                figures[f"{word} {label}"] = round(100 * float(evaluation.stats[place]), 2)
    return figures

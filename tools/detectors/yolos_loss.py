"""The loss of YOLOS: every digit is matched with one query (Hungarian matching), the others say "no object".

After DETR (arXiv 2005.12872): cross entropy, with "no object" weighing less, L1 and generalised IoU of the matched
boxes; the queries of the last few layers answer too. A small YOLOS that is trained from nothing for minutes needs two
things more: position embeddings that start as sines and cosines, and a second task for the patches themselves, each of
which names the digit that it lies in (as FCOS's positions do). That part is thrown away after training.
"""

import math
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import generalized_box_iou_loss

from tools.detectors.torchvision_losses import normalised
from tools.scenes.digits import CLASSES
from tools.scenes.draw import SIZE, Scenes

NO_OBJECT_WEIGHT = 0.2
L1_WEIGHT, IOU_WEIGHT = 5.0, 2.0
#: How many of the last layers' queries answer.
ANSWERING = 4
#: Patches answer this many layers before the end.
PATCHES_BEFORE = 4


class YolosTraining(nn.Module):
    """A YOLOS with what it is trained with.

    Attributes:
        model: the detector, transformers' `YolosForObjectDetection`.
        patches: from a patch's hidden state to classes, "none" and a box; only in training.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        width = model.config.hidden_size
        self.patches = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, CLASSES + 1 + 4)
        )
        start_positions(model)

    def forward(self, images: Tensor) -> tuple[list[tuple[Tensor, Tensor]], tuple[Tensor, Tensor]]:
        """Normalised images to (logits, boxes) of the queries of some layers, the last one last, and of the patches."""
        model = self.model
        hidden = model.vit.embeddings(images)
        queries = model.config.num_detection_tokens
        states = []
        for layer in model.vit.encoder.layer:
            hidden = layer(hidden)
            states.append(hidden)
        answers = []
        for state in states[-ANSWERING:]:
            tokens = model.vit.layernorm(state)[:, -queries:]
            answers.append((model.class_labels_classifier(tokens).float(), model.bbox_predictor(tokens).float()))
        patches = self.patches(states[-1 - PATCHES_BEFORE][:, 1:-queries]).float()
        return (
            [(logits, boxes.sigmoid()) for logits, boxes in answers],
            (patches[..., : CLASSES + 1], patches[..., CLASSES + 1 :].sigmoid()),
        )


@torch.no_grad()
def start_positions(model: Any) -> None:
    """Patches start with sines and cosines of where they lie, queries with random numbers, layers by Glorot.

    transformers' own start is zero for positions and queries, with which every query would answer the same for ever.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
    embeddings = model.vit.embeddings
    width, queries = model.config.hidden_size, model.config.num_detection_tokens
    cells = SIZE // model.config.patch_size
    rates = math.pi * torch.linspace(0, math.log2(cells), width // 4).exp2()
    line = ((torch.arange(cells) + 0.5) / cells)[:, None] * rates
    waves = torch.cat([line.sin(), line.cos()], 1)
    down, right = waves[:, None].expand(-1, cells, -1), waves[None].expand(cells, -1, -1)
    nn.init.trunc_normal_(embeddings.position_embeddings, std=0.02)
    nn.init.normal_(embeddings.detection_tokens, std=0.5)
    nn.init.normal_(embeddings.cls_token, std=0.02)
    embeddings.position_embeddings[0, 1:-queries] = 0.5 * torch.cat([down, right], 2).flatten(0, 1)


def corners(boxes: Tensor) -> Tensor:
    """Centres and sizes to x1, y1, x2, y2."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], -1)


def pairwise_iou_loss(boxes: Tensor, others: Tensor) -> Tensor:
    """1 - generalised IoU of [B, Q, 4] and [B, N, 4] (centres and sizes): [B, Q, N]."""
    shape = (*boxes.shape[:2], others.shape[1], 4)
    mine, theirs = corners(boxes)[:, :, None].expand(shape), corners(others)[:, None].expand(shape)
    loss: Tensor = generalized_box_iou_loss(mine, theirs, reduction="none")
    return loss


@torch.no_grad()
def match(logits: Tensor, boxes: Tensor, labels: Tensor, wanted: Tensor, counts: list[int]) -> Tensor:
    """The query of every object: int64 [B, MOST], 0 where there is no object."""
    chances = logits.softmax(-1).gather(2, labels.clamp(min=0)[:, None].expand(-1, logits.shape[1], -1))
    cost = -2 * chances + L1_WEIGHT * torch.cdist(boxes, wanted, p=1)
    costs = (cost + IOU_WEIGHT * pairwise_iou_loss(boxes, wanted)).nan_to_num(1e4).cpu().numpy()
    chosen = np.zeros(labels.shape, np.int64)
    for row, count in enumerate(counts):
        query, place = linear_sum_assignment(costs[row, :, :count])
        chosen[row, place] = query
    return torch.from_numpy(chosen).to(logits.device)


def answer_loss(
    logits: Tensor, boxes: Tensor, *, labels: Tensor, wanted: Tensor, query: Tensor, there: Tensor
) -> dict[str, Tensor]:
    """The three losses of one layer's queries, whose objects they were matched with."""
    target = torch.full(logits.shape[:2], CLASSES, device=logits.device)
    rows = torch.arange(len(logits), device=logits.device)[:, None].expand_as(query)
    target[rows[there], query[there]] = labels[there]
    weight = torch.ones(CLASSES + 1, device=logits.device)
    weight[CLASSES] = NO_OBJECT_WEIGHT
    mine, theirs = boxes[rows[there], query[there]], wanted[there]
    number = max(len(theirs), 1)
    return {
        "class": functional.cross_entropy(logits.transpose(1, 2), target, weight=weight),
        "l1": L1_WEIGHT * (mine - theirs).abs().sum() / number,
        "iou": IOU_WEIGHT * generalized_box_iou_loss(corners(mine), corners(theirs), reduction="sum") / number,
    }


def patch_loss(logits: Tensor, boxes: Tensor, scenes: Scenes) -> dict[str, Tensor]:
    """The same losses of patches, each of which answers for the smallest box that its centre lies in."""
    cells = math.isqrt(logits.shape[1])
    line = (torch.arange(cells, device=logits.device) + 0.5) * (SIZE / cells)
    x, y = line.repeat(cells)[:, None], line.repeat_interleave(cells)[:, None]
    left, top, right, bottom = scenes.boxes[:, None].unbind(-1)
    inside = (x > left) & (x < right) & (y > top) & (y < bottom)
    area = torch.where(inside, (right - left) * (bottom - top), float("inf"))
    there = inside.any(-1)
    place = area.argmin(-1)
    target = torch.where(there, scenes.labels.gather(1, place), CLASSES)
    wanted = wanted_boxes(scenes).gather(1, place[..., None].expand(-1, -1, 4))
    number = there.sum().clamp(min=1)
    iou = generalized_box_iou_loss(corners(boxes), corners(wanted), reduction="none")
    return {
        "patch_class": functional.cross_entropy(logits.transpose(1, 2), target),
        "patch_l1": L1_WEIGHT * ((boxes - wanted).abs().sum(-1) * there).sum() / number,
        "patch_iou": IOU_WEIGHT * (iou * there).sum() / number,
    }


def wanted_boxes(scenes: Scenes) -> Tensor:
    """Boxes as YOLOS gives them: centres and sizes by the image's side."""
    start, end = scenes.boxes[..., :2], scenes.boxes[..., 2:]
    return torch.cat([(start + end) / 2, end - start], -1) / SIZE


def yolos_loss(training: Any, scenes: Scenes) -> dict[str, Tensor]:
    """The losses of a `YolosTraining`: three of each answering layer's queries, summed, and three of the patches."""
    device = scenes.images.device.type
    with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
        answers, patches = training(normalised(scenes.images))
    wanted, there = wanted_boxes(scenes), scenes.labels >= 0
    total: dict[str, Tensor] = {}
    # One matching, of the last layer, for all: so a query means one object through the layers.
    logits, boxes = answers[-1]
    query = match(logits, boxes, scenes.labels, wanted, scenes.counts)
    for logits, boxes in answers:
        losses = answer_loss(logits, boxes, labels=scenes.labels, wanted=wanted, query=query, there=there)
        total = {name: loss + total.get(name, 0) for name, loss in losses.items()}
    patch_logits, patch_boxes = patches
    return {**total, **patch_loss(patch_logits, patch_boxes, scenes)}

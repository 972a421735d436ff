"""Scenes, drawn many at a time, on a CPU or a GPU."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from tools.scenes.chance import Chance
from tools.scenes.digits import MARGIN, Digits
from tools.scenes.texture import backgrounds

SIZE = 128
MOST = 7
SMALLEST, LARGEST = 16.0, 64.0
EMPTY_SHARE = 0.06
TRIES = 6
#: Of two frames, the intersection over the smaller one.
OVERLAP = 0.2
#: What has fewer visible pixels is not annotated, and so not drawn.
FEWEST_PIXELS = 16


@dataclass(frozen=True)
class Scenes:
    """Scenes with their annotations; the objects of an image come first in its row.

    Attributes:
        images: uint8 [B, 3, SIZE, SIZE], RGB.
        counts: objects of each image; 0 of an empty one.
        labels: int64 [B, MOST], 0..9; -1 where there is no object.
        boxes: float32 [B, MOST, 4], x1, y1, x2, y2 in pixels, edges of the visible mask.
        masks: bool [B, MOST, SIZE, SIZE]: the visible pixels.
    """

    images: Tensor
    counts: list[int]
    labels: Tensor
    boxes: Tensor
    masks: Tensor


def draw(count: int, digits: Digits, generator: torch.Generator) -> Scenes:
    """So many scenes of these digits, on the generator's device.

    The same generator state gives the same scenes on one device; a CPU and a GPU draw different numbers.
    """
    chance = Chance(generator)
    sides = SMALLEST * (LARGEST / SMALLEST) ** chance.uniform(count, MOST)
    centres, there = place(sides, chance)
    chosen = chance.whole(count, MOST, end=len(digits.labels))
    cover = ink(digits.ink[chosen], sides, centres, chance) * there[:, :, None, None]

    masks = cover >= 0.5
    above = masks.flip(1).cumsum(1).flip(1) - masks.long()
    visible = masks & (above == 0)
    there = there & (visible.sum((2, 3)) >= FEWEST_PIXELS)
    # What can hardly be seen is not drawn, so others may show more than before.
    cover = cover * there[:, :, None, None]
    masks = cover >= 0.5
    visible = masks & (masks.flip(1).cumsum(1).flip(1) - masks.long() == 0)

    image = backgrounds(count, SIZE, chance)
    colours = contrasting(image, cover, chance)
    for number in range(MOST):
        alpha = cover[:, number, None]
        image = image * (1 - alpha) + alpha * colours[:, number, :, None, None]
    image = image + chance.normal(*image.shape) * chance.uniform(count, 1, 1, 1, high=0.04)
    pixels = (image.clamp(0, 1) * 255).round().to(torch.uint8)

    order = (~there).long().argsort(dim=1, stable=True)
    labels = torch.where(there, digits.labels[chosen], -1).gather(1, order)
    visible = visible.gather(1, order[:, :, None, None].expand(-1, -1, SIZE, SIZE))
    return Scenes(pixels, there.sum(1).tolist(), labels, boxes_of(visible), visible)


def place(sides: Tensor, chance: Chance) -> tuple[Tensor, Tensor]:
    """Where the frames stand, with little overlap: centres [B, MOST, 2] in pixels, and which of them there are."""
    count = len(sides)
    wanted = chance.whole(count, 1, end=MOST) + 1
    wanted = torch.where(chance.yes(count, 1, share=EMPTY_SHARE), 0, wanted)
    there = torch.arange(MOST, device=sides.device)[None] < wanted
    margin = 0.4 * sides[..., None]
    tries = margin + chance.uniform(TRIES, count, MOST, 2) * (SIZE - 2 * margin)
    centres = tries[0].clone()
    for number in range(1, MOST):
        side, others = sides[:, number, None], sides[:, :number]
        distance = (tries[:, :, number, None] - centres[None, :, :number]).abs()
        common = ((side + others)[..., None] / 2 - distance).clamp(min=0).minimum(side.minimum(others)[..., None])
        share = common.prod(-1) / side.minimum(others).square()
        free = ((share <= OVERLAP) | ~there[:, :number]).all(-1)
        first = free.long().argmax(0)
        centres[:, number] = tries[first, torch.arange(count, device=sides.device), number]
        there[:, number] &= free.any(0)
    return centres, there


def ink(digits: Tensor, sides: Tensor, centres: Tensor, chance: Chance) -> Tensor:
    """Digits [B, MOST, 40, 40], turned and scaled into their places: how much each covers, [B, MOST, SIZE, SIZE]."""
    count = len(digits)
    angle = chance.uniform(count, MOST, low=-math.radians(25), high=math.radians(25))
    width = sides * chance.uniform(count, MOST, low=0.8, high=1.2) * MARGIN
    height = sides * MARGIN
    cos, sin = angle.cos(), angle.sin()
    x, y = SIZE / 2 - centres[..., 0], SIZE / 2 - centres[..., 1]
    half = SIZE / 2
    rows = [
        torch.stack([cos * half, sin * half, cos * x + sin * y], -1) / (width / 2)[..., None],
        torch.stack([-sin * half, cos * half, cos * y - sin * x], -1) / (height / 2)[..., None],
    ]
    theta = torch.stack(rows, -2).flatten(0, 1)
    grid = functional.affine_grid(theta, [count * MOST, 1, SIZE, SIZE], align_corners=False)
    warped = functional.grid_sample(digits.flatten(0, 1)[:, None], grid, align_corners=False)
    return ((warped.view(count, MOST, SIZE, SIZE) - 0.2) / 0.4).clamp(0, 1)


def contrasting(image: Tensor, cover: Tensor, chance: Chance) -> Tensor:
    """A colour for each digit that differs from what it stands on: float32 [B, MOST, 3]."""
    count = len(image)
    weight = cover.flatten(2)
    below = torch.einsum("bnp,bp->bn", weight, image.mean(1).flatten(1)) / weight.sum(2).clamp(min=1)
    step = chance.uniform(count, MOST, low=0.22, high=0.6)
    step = torch.where(chance.yes(count, MOST, share=0.5), step, -step)
    inside = ((below + step) > 0) & ((below + step) < 1)
    brightness = torch.where(inside, below + step, below - step)
    return (brightness[..., None] + chance.uniform(count, MOST, 3, low=-0.12, high=0.12)).clamp(0, 1)


def boxes_of(masks: Tensor) -> Tensor:
    """The edges of masks [B, N, H, W] in pixels: float32 [B, N, 4]; zeros of an empty mask."""
    edges = []
    for axis in (2, 3):
        line = masks.any(axis).long()
        edges.append((line.argmax(-1), line.shape[-1] - line.flip(-1).argmax(-1)))
    (left, right), (top, bottom) = edges
    boxes = torch.stack([left, top, right, bottom], -1).float()
    return boxes * masks.any(-1).any(-1)[..., None]

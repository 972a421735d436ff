"""What digits stand on: a gradient, stripes, noise of several sizes, and strokes that are no digits."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from tools.scenes.chance import Chance

STROKES = 6


def positions(size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Centres of pixels: x [1, 1, size] and y [1, size, 1], in pixels."""
    line = torch.arange(size, device=device) + 0.5
    return line[None, None, :], line[None, :, None]


def backgrounds(count: int, size: int, chance: Chance) -> Tensor:
    """Textured images, float32 [count, 3, size, size], about 0..1 and not clipped."""
    x, y = positions(size, chance.device)
    image = chance.uniform(count, 3, low=0.1, high=0.9)[:, :, None, None].expand(-1, -1, size, size)
    for amplitude, waves in ((0.25, 0.5), (0.10, 12.0)):  # a slope, and stripes
        angle = chance.uniform(count, 1, 1, high=2 * math.pi)
        along = (x * angle.cos() + y * angle.sin()) / size
        frequency = chance.uniform(count, 1, 1, low=waves / 4, high=waves) * 2 * math.pi
        wave = (along * frequency + chance.uniform(count, 1, 1, high=2 * math.pi)).sin()
        image = image + wave[:, None] * chance.uniform(count, 3, 1, 1, low=-amplitude, high=amplitude)
    for cells, amplitude in ((4, 0.10), (16, 0.08), (size, 0.06)):
        noise = chance.normal(count, 3, cells, cells)
        if cells != size:
            noise = functional.interpolate(noise, size=(size, size), mode="bicubic", align_corners=False)
        image = image + noise * chance.uniform(count, 1, 1, 1, high=amplitude)
    return image + strokes(count, size, chance)


def strokes(count: int, size: int, chance: Chance) -> Tensor:
    """Bent lines of some widths, colours and lengths as something to add: float32 [count, 3, size, size]."""
    x, y = (line[:, None] for line in positions(size, chance.device))
    shape = (count, STROKES, 1, 1)
    start_x, start_y = chance.uniform(*shape, high=size), chance.uniform(*shape, high=size)
    angle = chance.uniform(*shape, high=2 * math.pi)
    length = chance.uniform(*shape, low=6, high=48)
    along = (x - start_x) * angle.cos() + (y - start_y) * angle.sin()
    across = (y - start_y) * angle.cos() - (x - start_x) * angle.sin()
    inside = (along / length).clamp(0, 1)
    bend = chance.uniform(*shape, low=-1.2, high=1.2) * length * inside * (1 - inside)
    distance = torch.hypot(across - bend, along - inside * length)
    cover = (chance.uniform(*shape, low=0.5, high=2.2) - distance + 0.5).clamp(0, 1)
    cover = cover * chance.yes(*shape, share=0.5)
    colour = chance.uniform(count, 3, STROKES, low=-0.6, high=0.6)
    return torch.einsum("bchw,bkc->bkhw", cover, colour)

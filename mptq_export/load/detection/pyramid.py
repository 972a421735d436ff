"""The pyramid of a detector at one size of image: its maps, their strides as torchvision computes them, the anchors."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mptq_export.load.detection.networks import maps_of
from mptq_export.recipe.detector import Level
from mptq_export.support.errors import MptqError

#: Images that the pyramid is looked at with.
BATCH = 2

_UNFIT = re.compile(r"[^\w\-]")


def maps_at(detector: Any, input_size: tuple[int, int, int]) -> dict[str, Tensor]:
    """The maps of a detector for noise, by name.

    Args:
        detector: in evaluation mode, float32, on the CPU.
        input_size: (C, H, W) in pixels.

    Raises:
        MptqError: the backbone cannot take such images, or gives no maps.
    """
    channels, height, width = input_size
    images = torch.randn(BATCH, *input_size, generator=torch.Generator().manual_seed(0))
    what = f"the backbone {type(detector.backbone).__name__}"
    try:
        with torch.no_grad():
            maps = maps_of(detector.backbone, images)
    except Exception as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise MptqError(
            f"{what} takes no images of {height}x{width} with {channels} channels ({first}); give the size that it was "
            "made for with --img-size"
        ) from error
    for name, each in maps.items():
        if not isinstance(each, Tensor) or each.dim() != images.dim() or each.shape[0] != BATCH:
            raise MptqError(f"{what} gives a {name} that is no map [B, C, rows, columns]; let it return maps alone")
        if _UNFIT.search(name) or not name:
            raise MptqError(f"{what} gives a map called {name!r:.40}; call it by letters, digits and _ alone")
    return maps


def levels_of(generator: Any, maps: Mapping[str, Tensor], image: tuple[int, int]) -> tuple[Level, ...]:
    """Sizes, strides and anchors of every map that has candidates.

    Args:
        generator: of anchors, torchvision's.
        maps: of the pyramid, by name, [B, C, rows, columns].
        image: (height, width) in pixels.

    Raises:
        MptqError: it makes anchors in another way, or for another number of maps.
    """
    from torchvision.models.detection.anchor_utils import AnchorGenerator  # noqa: PLC0415 - see `recognise`
    from torchvision.models.detection.image_list import ImageList  # noqa: PLC0415

    what = f"the anchors of {type(generator).__name__}"
    if not isinstance(generator, AnchorGenerator):
        raise MptqError(f"{what} cannot be described; use torchvision's AnchorGenerator")
    cells = generator.cell_anchors
    if len(cells) != len(maps):
        raise MptqError(
            f"{what} are for {len(cells)} maps, and the backbone gives {len(maps)} ({', '.join(maps)}); give sizes and "
            "aspect ratios for each"
        )
    levels = []
    for cell, (name, each) in zip(cells, maps.items(), strict=True):
        rows, columns = each.shape[2:]
        stride = (image[0] // rows, image[1] // columns)
        boxes = tuple((box[0], box[1], box[2], box[3]) for box in cell.float().tolist())
        levels.append(Level(name, (rows, columns), stride, boxes))
    found = generator(ImageList(torch.zeros(1, 1, *image), [image]), list(maps.values()))[0]
    if not torch.equal(found, torch.cat([anchors(level) for level in levels])):
        raise MptqError(f"{what} are not those of torchvision's AnchorGenerator, and cannot be described; use that")
    return tuple(levels)


def anchors(level: Level) -> Tensor:
    """All anchors of a level, [rows * columns * anchors, 4] as (x1, y1, x2, y2) in pixels."""
    rows, columns = (torch.arange(count) * step for count, step in zip(level.size, level.stride, strict=True))
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    shifts = torch.stack((x, y, x, y), dim=-1).reshape(-1, 1, 4)
    return (shifts + torch.tensor(level.anchors)).reshape(-1, 4)

"""The networks of a detector: what is quantized of it, without anchors, decoding and the choice among candidates.

They hold the detector's own modules under the names that these have there, so that layers are called as the user calls
them. Each gives its tensors in the order of `names`; candidates are on axis 1 in torchvision's order (rows, columns,
anchors), with their numbers on the last axis.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn


def maps_of(backbone: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """The maps of a backbone by name; one without a name is called `0`, as torchvision does."""
    found = backbone(x)
    return {"0": found} if isinstance(found, Tensor) else dict(found)


class OneStage(nn.Module):
    """FCOS or RetinaNet: [B, C, H, W] -> for every kind of output [B, N, n] of each level.

    Attributes:
        keys: what the head calls its outputs, in the order in which they are given.
        apart: whether the head runs for a level at a time: so it has no slices of what it would join. False for a head
            that gives other numbers then.
    """

    def __init__(self, detector: Any, keys: Sequence[str], *, apart: bool) -> None:
        super().__init__()
        self.backbone, self.head = detector.backbone, detector.head
        self.keys, self.apart = tuple(keys), apart

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """All levels of the first kind of output, then of the next."""
        maps = list(maps_of(self.backbone, x).values())
        if self.apart:
            levels = [self.head([each]) for each in maps]
            return tuple(level[key] for key in self.keys for level in levels)
        joined = self.head(maps)
        return tuple(part for key in self.keys for part in split_levels(joined[key], maps))


def split_levels(joined: Tensor, maps: Sequence[Tensor]) -> list[Tensor]:
    """Candidates of all levels on axis 1, [B, sum of N, n], to those of each level, as torchvision splits them."""
    positions = [each.shape[2] * each.shape[3] for each in maps]
    anchors = joined.shape[1] // sum(positions)
    return list(torch.split(joined, [anchors * count for count in positions], 1))


class Proposals(nn.Module):
    """The first stage of Faster and Mask R-CNN: [B, C, H, W] -> objectness and deltas of each level, and the pyramid.

    Attributes:
        pooled: names of the maps that regions are cut out of; these are given.
    """

    def __init__(self, detector: Any, pooled: Sequence[str]) -> None:
        super().__init__()
        self.backbone = detector.backbone
        self.rpn = nn.ModuleDict({"head": detector.rpn.head})
        self.pooled = tuple(pooled)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """[B, N, 1] of each level, [B, N, 4] of each level, then [B, C, h, w] of each that is pooled."""
        maps = maps_of(self.backbone, x)
        objectness, deltas = self.rpn["head"](list(maps.values()))
        return (
            *(_by_candidate(each, 1) for each in objectness),
            *(_by_candidate(each, 4) for each in deltas),
            *(maps[name] for name in self.pooled),
        )


def _by_candidate(x: Tensor, count: int) -> Tensor:
    """[B, anchors * count, h, w] -> [B, h * w * anchors, count]."""
    batch, channels, rows, columns = x.shape
    apart = x.reshape(batch, channels // count, count, rows, columns)
    return apart.permute(0, 3, 4, 1, 2).reshape(batch, -1, count)


class BoxHead(nn.Module):
    """The second stage: what was cut out for boxes, [R, C, h, w], -> scores [R, K] and deltas [R, 4 K] of K classes."""

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.roi_heads = _modules(detector.roi_heads, ("box_head", "box_predictor"))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Scores, and deltas."""
        scores, deltas = self.roi_heads["box_predictor"](self.roi_heads["box_head"](x))
        return scores, deltas


class MaskHead(nn.Module):
    """What was cut out for masks, [R, C, h, w], -> a mask a class, [R, K, 2 h, 2 w]."""

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.roi_heads = _modules(detector.roi_heads, ("mask_head", "mask_predictor"))

    def forward(self, x: Tensor) -> Tensor:
        """The masks, before the sigmoid."""
        masks: Tensor = self.roi_heads["mask_predictor"](self.roi_heads["mask_head"](x))
        return masks


def _modules(whole: Any, names: Sequence[str]) -> nn.ModuleDict:
    parts: Mapping[str, nn.Module] = {name: getattr(whole, name) for name in names}
    return nn.ModuleDict(parts)

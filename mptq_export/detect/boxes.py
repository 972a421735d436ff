"""Boxes (x1, y1, x2, y2) in pixels, float32 in every step as in torchvision: anchors, decoding, clipping."""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mptq_export.detect.numbers import Floats
from mptq_export.recipe.detector import Level

LARGEST_GROWTH = math.log(1000 / 16)
"""A box is at most 62.5 times as wide or high as its anchor: `bbox_xform_clip` of torchvision's `BoxCoder`."""


@lru_cache(maxsize=64)
def level_anchors(level: Level) -> Floats:
    """All anchors of a level.

    Returns:
        Not to be written to: [rows * columns * anchors, 4], in the order of rows, columns and anchors.
    """
    (rows, columns), (down, right) = level.size, level.stride
    y, x = np.meshgrid(np.arange(rows) * down, np.arange(columns) * right, indexing="ij")
    shifts = np.stack((x, y, x, y), axis=-1).astype(np.float32)
    anchors: Floats = (shifts[:, :, None] + np.array(level.anchors, np.float32).reshape(-1, 4)).reshape(-1, 4)
    anchors.flags.writeable = False
    return anchors


def decode_deltas(deltas: Floats, boxes: Floats, weights: tuple[float, float, float, float]) -> Floats:
    """Boxes from the change of centre and size of other boxes (Faster R-CNN; torchvision's `BoxCoder`).

    Args:
        deltas: [N, 4] (dx, dy, dw, dh).
        boxes: [N, 4] that they belong to: anchors or proposals.
        weights: divisors of the four.

    Returns:
        [N, 4].
    """
    half = np.float32(0.5)
    size = boxes[:, 2:] - boxes[:, :2]
    centre = boxes[:, :2] + half * size
    change = deltas / np.array(weights, np.float32)
    centre = change[:, :2] * size + centre
    extent = half * (np.exp(np.minimum(change[:, 2:], np.float32(LARGEST_GROWTH))) * size)
    return np.concatenate((centre - extent, centre + extent), axis=1)


def decode_distances(distances: Floats, anchors: Floats) -> Floats:
    """Boxes from the distances of an anchor's centre to their sides (FCOS; torchvision's `BoxLinearCoder`).

    Args:
        distances: [N, 4] (left, top, right, bottom), in widths and heights of the anchor.
        anchors: [N, 4].

    Returns:
        [N, 4].
    """
    centre = np.float32(0.5) * (anchors[:, :2] + anchors[:, 2:])
    pixels = distances * np.tile(anchors[:, 2:] - anchors[:, :2], 2)
    return np.concatenate((centre - pixels[:, :2], centre + pixels[:, 2:]), axis=1)


def clip(boxes: Floats, size: tuple[int, int]) -> Floats:
    """Boxes [N, 4] cut at the borders of (height, width)."""
    height, width = size
    clipped: Floats = np.clip(boxes, np.float32(0), np.array((width, height, width, height), np.float32))
    return clipped


def at_least(boxes: Floats, side: float) -> NDArray[np.bool_]:
    """[N], which boxes have no side that is shorter, in pixels."""
    sides = boxes[:, 2:] - boxes[:, :2]
    large: NDArray[np.bool_] = np.all(sides >= np.float32(side), axis=1)
    return large

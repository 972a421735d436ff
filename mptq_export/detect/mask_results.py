"""Masks of Mask R-CNN: one small map for each box, spread over the box in the picture (torchvision's, step by step)."""

import numpy as np
from numpy.typing import NDArray

from mptq_export.detect.numbers import Floats, sigmoid

BORDER = 1
"""Zeros around a small map, so that a mask can end within its box."""


def mask_maps(masks: Floats, labels: NDArray[np.int64]) -> Floats:
    """How likely each place of a box belongs to the object (torchvision's `maskrcnn_inference`).

    Args:
        masks: [R, classes + 1, rows, columns], the mask head's output.
        labels: [R].

    Returns:
        [R, rows, columns], in 0..1.
    """
    return sigmoid(masks[np.arange(len(masks)), labels])


def paste(small: Floats, box: Floats, size: tuple[int, int]) -> Floats:
    """A small map as one of the whole picture (torchvision's `paste_masks_in_image`).

    Args:
        small: [M, M] of `mask_maps`.
        box: [4] (x1, y1, x2, y2) in pixels of the picture.
        size: (height, width) of the picture.

    Returns:
        [height, width], 0 outside of the box.
    """
    picture = np.zeros(size, np.float32)
    left, top, right, bottom = _whole_box(box, len(small))
    framed = np.pad(small, BORDER)
    rows, y = _places(top, bottom, len(framed), size[0])
    columns, x = _places(left, right, len(framed), size[1])
    if len(rows) and len(columns):
        lines = _between(framed, y)
        picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = _between(lines.T, x).T
    return picture


def _whole_box(box: Floats, side: int) -> tuple[int, ...]:
    """The box that the framed map fills, in whole pixels rounded towards 0: first and last ones."""
    half, scale = np.float32(0.5), np.float32((side + 2 * BORDER) / side)
    extent = (box[2:] - box[:2]) * half * scale
    centre = (box[2:] + box[:2]) * half
    return tuple(np.concatenate((centre - extent, centre + extent)).astype(np.int64).tolist())


def _places(first: int, last: int, side: int, length: int) -> tuple[NDArray[np.int64], Floats]:
    """Pixels of the picture that a box covers along an axis, and where each of them lies on the framed map."""
    count = max(last - first + 1, 1)
    pixels = np.arange(max(first, 0), min(last + 1, length))
    step = np.float32(side) / np.float32(count)
    return pixels, np.maximum(step * ((pixels - first).astype(np.float32) + np.float32(0.5)) - np.float32(0.5), 0)


def _between(values: Floats, places: Floats) -> Floats:
    """Rows of a map, interpolated at the places."""
    low = np.minimum(places.astype(np.intp), len(values) - 1)
    part = (places - low.astype(np.float32))[:, None]
    high = np.minimum(low + 1, len(values) - 1)
    result: Floats = (np.float32(1) - part) * values[low] + part * values[high]
    return result

"""Non-maximum suppression: of two boxes of a group that overlap too much, the one with the better score.

The indices are those of torchvision's `nms` and `batched_nms` on the CPU, for the same scores and boxes.
"""

import numpy as np
from numpy.typing import NDArray

from mptq_export.detect.numbers import Floats, Indices

MOST_TOGETHER = 1000
"""Up to so many boxes torchvision suppresses all groups at once, each moved by an offset (which rounds them)."""
_BLOCK = 128


def suppress(boxes: Floats, scores: Floats, overlap: float) -> Indices:
    """Of boxes of one group.

    Args:
        boxes: [N, 4].
        scores: [N].
        overlap: largest intersection over union with a better box; compared in float64.

    Returns:
        Indices of those that are kept, the best first; of equal scores the first.
    """
    order = np.argsort(-scores, kind="stable")
    rest = boxes[order]
    kept: list[Indices] = []
    while len(order):
        # All pairs of a block, then what the block leaves of all that come after it.
        size = min(_BLOCK, len(order))
        against: NDArray[np.bool_] = np.greater(_overlap(rest[:size], rest), np.float64(overlap))
        alive = np.ones(size, np.bool_)
        for row in range(size):
            if alive[row]:
                alive[row + 1 :] &= ~against[row, row + 1 : size]
        kept.append(order[:size][alive])
        survives: NDArray[np.bool_] = ~np.any(against[alive], axis=0)
        survives[:size] = False
        order, rest = order[survives], rest[survives]
    return np.concatenate(kept) if kept else order


def suppress_in_groups(boxes: Floats, scores: Floats, groups: NDArray[np.int64], overlap: float) -> Indices:
    """As `suppress`; boxes of different groups leave each other alone.

    Args:
        boxes: [N, 4], none of them left of or above the image.
        scores: [N].
        groups: [N], classes or levels.
        overlap: as for `suppress`.

    Returns:
        Indices of those that are kept, of all groups, the best first.
    """
    if 0 < len(boxes) <= MOST_TOGETHER:
        boxes = boxes + (groups.astype(np.float32) * (boxes.max() + np.float32(1)))[:, None]
    kept = np.zeros(len(boxes), np.bool_)
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        kept[members[suppress(boxes[members], scores[members], overlap)]] = True
    indices = np.flatnonzero(kept)
    return indices[np.argsort(-scores[indices], kind="stable")]


def _overlap(some: Floats, others: Floats) -> Floats:
    """Intersection over union, [S, O]; NaN of two boxes without area."""
    left, top, right, bottom = (np.ascontiguousarray(column) for column in others.T)  # whole rows are quicker
    left_, top_, right_, bottom_ = (column[:, None] for column in some.T)
    zero = np.float32(0)
    shared: Floats = np.maximum(np.minimum(right_, right) - np.maximum(left_, left), zero)
    shared *= np.maximum(np.minimum(bottom_, bottom) - np.maximum(top_, top), zero)
    union: Floats = (right_ - left_) * (bottom_ - top_) + (right - left) * (bottom - top)
    union -= shared
    with np.errstate(invalid="ignore", divide="ignore"):
        shared /= union
    return shared

"""Non-maximum suppression in ONNX, with the choices of `mptq_export/detect/suppression.py`."""

from dataclasses import dataclass

import numpy as np

from mptq_export.detect.suppression import MOST_TOGETHER
from mptq_export.emit.detector.ops import FLOAT, Ops

_LEFT_OUT, _COUNTED = -1.0, -0.5
"""The score of what is no candidate, and one between it and all others."""


@dataclass(frozen=True)
class Candidates:
    """What is suppressed; the number is fixed, and those that are none are marked.

    Attributes:
        boxes: [N, 4], none left of or above the image, none with its ends in the wrong order.
        scores: [N], 0 or more.
        groups: [N] int64.
        valid: [N] bool, which of them are candidates.
    """

    boxes: str
    scores: str
    groups: str
    valid: str


def suppress_in_groups(op: Ops, found: Candidates, groups: int, overlap: float, kept: int) -> str:
    """Indices of those that are kept, the best first; of equal scores the first.

    Args:
        op: makes nodes.
        found: the candidates.
        groups: how many groups there are.
        overlap: largest intersection over union with a better box of the group.
        kept: at most so many.
    """
    numbers = op.reshape(op.integers(range(groups)), groups, 1)
    own = op("And", op("Equal", found.groups, numbers), found.valid)
    scores = op("Where", own, found.scores, op.floats(_LEFT_OUT))  # [groups, N]
    boxes = moved_apart(op, found.boxes, found.groups, found.valid)
    chosen = non_maximum(
        op, op("Unsqueeze", boxes, op.integers([0])), op("Unsqueeze", scores, op.integers([0])), overlap
    )
    return best_of(op, found.scores, op.column(chosen, 2), kept)


def moved_apart(op: Ops, boxes: str, groups: str, valid: str) -> str:
    """Boxes as torchvision suppresses them: few are moved by an offset of their group, which rounds them.

    Args:
        op: makes nodes.
        boxes: [..., 4].
        groups: [...] int64.
        valid: [...] bool.
    """
    ends = op("Where", op("Unsqueeze", valid, op.integers([-1])), boxes, op.floats(0))
    step = op("Add", op("ReduceMax", ends, keepdims=0), op.floats(1))
    offsets = op("Unsqueeze", op("Mul", op.cast(groups, FLOAT), step), op.integers([-1]))
    few = op("LessOrEqual", op.total(valid), op.integers(MOST_TOGETHER))
    return op("Where", few, op("Add", boxes, offsets), boxes)


def non_maximum(op: Ops, boxes: str, scores: str, overlap: float) -> str:
    """[kept, 3]: batch, group and box of what is kept.

    Args:
        op: makes nodes.
        boxes: [B, N, 4].
        scores: [B, groups, N].
        overlap: largest intersection over union.
    """
    threshold = np.float32(overlap)
    if float(threshold) > overlap:  # ONNX compares in float32, torchvision in float64: no float32 lies between the two
        threshold = np.nextafter(threshold, np.float32(-1))
    limits = (op.integers([2**31 - 1]), op.floats([threshold]), op.floats([_COUNTED]))
    return op("NonMaxSuppression", boxes, scores, *limits)


def best_of(op: Ops, scores: str, chosen: str, kept: int) -> str:
    """Indices of the best of those that were chosen, the best first; of equal scores the first.

    Args:
        op: makes nodes.
        scores: [N].
        chosen: [K] int64, each once.
        kept: at most so many.
    """
    ones = op("Expand", op.floats(1), op("Shape", chosen))
    marked = op("ScatterElements", op("Mul", scores, op.floats(0)), chosen, ones, axis=0)
    left = op("Where", op("Greater", marked, op.floats(0)), scores, op.floats(_LEFT_OUT))
    return op.best(left, op("Min", op.size(chosen, 0), op.integers(kept)))[1]

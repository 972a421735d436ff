"""Boxes with scores and labels, before they are anyone's."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mptq_export.detect.numbers import Floats, Indices


@dataclass(frozen=True)
class Found:
    """What was found in one input, the best first.

    Attributes:
        boxes: [N, 4] float32, (x1, y1, x2, y2) in pixels of the input.
        scores: [N] float32, in 0..1.
        labels: [N] int64.
    """

    boxes: Floats
    scores: Floats
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scores)

    def at(self, indices: Indices | NDArray[np.bool_]) -> "Found":
        """Those at the indices, in their order."""
        return Found(self.boxes[indices], self.scores[indices], self.labels[indices])


def joined(parts: list[Found]) -> Found:
    """All of several, one after the other."""
    return Found(
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.labels for part in parts]),
    )

"""What a detector found on a picture, as it is judged and kept."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mptq_export.detect.detections import Detections
from mptq_export.evaluate.detection.cocotools import cocotools

Runs = dict[str, Any]
"""A mask as pycocotools compresses it: `size` and `counts`, a text."""


@dataclass(frozen=True)
class FoundObjects:
    """Of one picture, the best first.

    Attributes:
        boxes: (N, 4) float32, (x1, y1, x2, y2) in pixels of the picture.
        scores: (N,) float32.
        labels: (N,) int64, the detector's own.
        masks: of each of them; None where there are none.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    masks: tuple[Runs, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values; float32 numbers come back as they are."""
        return {
            "boxes": self.boxes.tolist(),
            "scores": self.scores.tolist(),
            "labels": self.labels.tolist(),
            "masks": None if self.masks is None else list(self.masks),
        }

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> "FoundObjects":
        """What `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        masks = entry["masks"]
        return cls(
            np.array(entry["boxes"], np.float32).reshape(-1, 4),
            np.array(entry["scores"], np.float32),
            np.array(entry["labels"], np.int64),
            None if masks is None else tuple({"size": list(each["size"]), "counts": each["counts"]} for each in masks),
        )


def found_objects(detections: Detections, *, masks: bool) -> FoundObjects:
    """What is judged of detections.

    Args:
        detections: of one picture.
        masks: whether masks are wanted, where there are some.

    Raises:
        MptqError: they are, and pycocotools is not installed.
    """
    compressed = None
    if masks and detections.small_masks is not None:
        coder = cocotools().mask
        compressed = tuple(_compressed(coder, detections.rle(number)) for number in range(len(detections)))
    return FoundObjects(detections.boxes, detections.scores, detections.labels, compressed)


def _compressed(coder: Any, runs: Runs) -> Runs:
    written = coder.frPyObjects(runs, *runs["size"])
    return {"size": list(written["size"]), "counts": written["counts"].decode("ascii")}

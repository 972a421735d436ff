"""What a detector found in a picture."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mptq_export.detect.mask_results import paste
from mptq_export.detect.numbers import Floats

LIKELY = 0.5


@dataclass(frozen=True)
class Detections:
    """Boxes, the best first, in pixels of the picture.

    Attributes:
        size: (height, width) of the picture.
        boxes: [N, 4] float32, (x1, y1, x2, y2).
        scores: [N] float32, in 0..1.
        labels: [N] int64, as the detector's library numbers them: Faster and Mask R-CNN from 1, the others from 0.
        names: [N] of the classes; None where the file does not say them.
        small_masks: [N, M, M] float32 in 0..1, spread over each box; None where there is no mask head. `mask`, `masks`
            and `rle` give them in pixels of the picture.
    """

    size: tuple[int, int]
    boxes: Floats
    scores: Floats
    labels: NDArray[np.int64]
    names: tuple[str, ...] | None = None
    small_masks: Floats | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def mask(self, number: int) -> NDArray[np.bool_]:
        """The mask of one box, [height, width]: where the object is more likely than not.

        Raises:
            ValueError: the detector has no mask head.
        """
        if self.small_masks is None:
            raise ValueError("the detector has no mask head")
        result: NDArray[np.bool_] = paste(self.small_masks[number], self.boxes[number], self.size) > np.float32(LIKELY)
        return result

    def masks(self) -> Iterator[NDArray[np.bool_]]:
        """The mask of each box, one at a time: those of a large picture may not fit into memory together."""
        return (self.mask(number) for number in range(len(self)))

    def rle(self, number: int) -> dict[str, list[int]]:
        """The mask of one box as COCO writes it uncompressed: `size`, and lengths of runs of 0 and 1, down the columns.

        pycocotools compresses it with `mask.frPyObjects(rle, *size)`.
        """
        flat = self.mask(number).reshape(-1, order="F")
        edges = np.flatnonzero(np.diff(flat, prepend=False)) if len(flat) else np.zeros(0, np.intp)
        runs = np.diff(np.concatenate(([0], edges, [len(flat)])))
        return {"size": list(self.size), "counts": runs.tolist()}

"""The second stage of Faster and Mask R-CNN: from the box head's outputs to what was found.

What torchvision's `RoIHeads.postprocess_detections` does.
"""

from collections.abc import Mapping

import numpy as np

from mptq_export.detect.boxes import at_least, clip, decode_deltas
from mptq_export.detect.found import Found
from mptq_export.detect.numbers import Floats, softmax
from mptq_export.detect.suppression import suppress_in_groups
from mptq_export.recipe.detector import Regions

SMALLEST_RESULT = 1e-2
"""A result with a shorter side, in pixels, is dropped; a number in torchvision's code."""


def box_results(regions: Regions, outputs: Mapping[str, Floats], boxes: Floats, inside: tuple[int, int]) -> Found:
    """What was found in one input.

    Args:
        regions: the second stage.
        outputs: of the box head: `scores` [R, classes + 1], background first, and `deltas` [R, 4 * (classes + 1)].
        boxes: [R, 4], the proposals.
        inside: (height, width) of the input that the picture covers; boxes are cut there.

    Returns:
        Labels are 1 and more.
    """
    selection = regions.selection
    scores = softmax(outputs["scores"])[:, 1:]
    rows, classes = np.nonzero(scores > np.float32(selection.score))
    deltas = outputs["deltas"].reshape(len(boxes), scores.shape[1] + 1, 4)[rows, classes + 1]
    decoded = clip(decode_deltas(deltas, boxes[rows], regions.box_weights), inside)
    found = Found(decoded, scores[rows, classes], (classes + 1).astype(np.int64))
    found = found.at(at_least(decoded, SMALLEST_RESULT))
    chosen = suppress_in_groups(found.boxes, found.scores, found.labels, selection.overlap)
    return found.at(chosen[: selection.kept])

"""The first stage of Faster and Mask R-CNN: from objectness and deltas of every level to proposals.

What torchvision's `RegionProposalNetwork.filter_proposals` does.
"""

from collections.abc import Mapping

import numpy as np

from mptq_export.detect.boxes import at_least, clip, decode_deltas, level_anchors
from mptq_export.detect.found import Found, joined
from mptq_export.detect.numbers import Floats, highest, sigmoid
from mptq_export.detect.suppression import suppress_in_groups
from mptq_export.recipe.detector import Detector


def proposals(detector: Detector, outputs: Mapping[str, Floats], inside: tuple[int, int]) -> Found:
    """The proposals of one input.

    Args:
        detector: of family `rcnn`.
        outputs: of one input, by name: `objectness.LEVEL` [N, 1] and `deltas.LEVEL` [N, 4].
        inside: (height, width) of the input that the picture covers; proposals are cut there.

    Returns:
        Their labels are numbers of levels.
    """
    selection = detector.selection
    parts: list[Found] = []
    for number, level in enumerate(detector.levels):
        if level.anchors:
            logits = outputs[f"objectness.{level.name}"].reshape(-1)
            best = highest(logits, selection.candidates)
            boxes = decode_deltas(
                outputs[f"deltas.{level.name}"][best], level_anchors(level)[best], detector.box_weights
            )
            labels = np.full(len(best), number, np.int64)
            parts.append(Found(clip(boxes, inside), sigmoid(logits[best]), labels))
    found = joined(parts)
    # At least the score, where all others have to be above theirs: so it is in torchvision.
    found = found.at(at_least(found.boxes, detector.smallest) & (found.scores >= np.float32(selection.score)))
    chosen = suppress_in_groups(found.boxes, found.scores, found.labels, selection.overlap)
    return found.at(chosen[: selection.kept])

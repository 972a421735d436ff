"""FCOS and RetinaNet: from scores and boxes of every level to what was found.

What torchvision's `FCOS.postprocess_detections` and `RetinaNet.postprocess_detections` do.
"""

from collections.abc import Mapping

import numpy as np

from mptq_export.detect.boxes import clip, decode_deltas, decode_distances, level_anchors
from mptq_export.detect.found import Found, joined
from mptq_export.detect.numbers import Floats, highest, sigmoid
from mptq_export.detect.suppression import suppress_in_groups
from mptq_export.recipe.detector import Detector, Level


def one_stage(detector: Detector, outputs: Mapping[str, Floats], inside: tuple[int, int]) -> Found:
    """What was found in one input.

    Args:
        detector: of family `fcos` or `retinanet`.
        outputs: of one input, by name: `scores.LEVEL` [N, classes], `boxes.LEVEL` [N, 4] and of FCOS
            `centerness.LEVEL` [N, 1].
        inside: (height, width) of the input that the picture covers; boxes are cut there.
    """
    levels = [level for level in detector.levels if level.anchors]
    found = joined([_of_level(detector, level, outputs, inside) for level in levels])
    chosen = suppress_in_groups(found.boxes, found.scores, found.labels, detector.selection.overlap)
    return found.at(chosen[: detector.selection.kept])


def _of_level(detector: Detector, level: Level, outputs: Mapping[str, Floats], inside: tuple[int, int]) -> Found:
    """The best candidates of a level, one for each class that is likely enough."""
    scores = sigmoid(outputs[f"scores.{level.name}"])
    if detector.family == "fcos":
        scores = np.sqrt(scores * sigmoid(outputs[f"centerness.{level.name}"]))
    flat = scores.reshape(-1)
    likely = np.flatnonzero(flat > np.float32(detector.selection.score))
    chosen = likely[highest(flat[likely], detector.selection.candidates)]
    candidates, labels = np.divmod(chosen, detector.classes)
    anchors, regressed = level_anchors(level)[candidates], outputs[f"boxes.{level.name}"][candidates]
    if detector.family == "fcos":
        boxes = decode_distances(regressed, anchors)
    else:
        boxes = decode_deltas(regressed, anchors, detector.box_weights)
    return Found(clip(boxes, inside), flat[chosen], labels.astype(np.int64))

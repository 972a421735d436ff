"""DETR and YOLOS: a set of boxes, each with a class or none (transformers' `post_process_object_detection`)."""

from collections.abc import Mapping

import numpy as np

from mptq_export.detect.found import Found
from mptq_export.detect.numbers import Floats, highest, softmax
from mptq_export.recipe.detector import Detector


def set_prediction(detector: Detector, outputs: Mapping[str, Floats]) -> Found:
    """What was found in one input.

    Args:
        detector: of family `set`.
        outputs: of one input: `logits` [Q, classes + 1], the last "no object", and `pred_boxes` [Q, 4] (centre x,
            centre y, width, height) in 0..1 of the input.

    Returns:
        Boxes are not cut at the borders: transformers does not do it either.
    """
    likely = softmax(outputs["logits"])[:, :-1]
    labels = likely.argmax(axis=1)
    scores = likely[np.arange(len(likely)), labels]
    centre, half = outputs["pred_boxes"][:, :2], np.float32(0.5) * outputs["pred_boxes"][:, 2:]
    height, width = detector.image
    boxes = np.concatenate((centre - half, centre + half), axis=1) * np.array((width, height) * 2, np.float32)
    found = Found(boxes, scores, labels.astype(np.int64))
    found = found.at(scores > np.float32(detector.selection.score))
    return found.at(highest(found.scores, detector.selection.kept))

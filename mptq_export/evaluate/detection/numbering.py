"""Whether categories are numbered as a detector's classes are: its boxes say so when they are not."""

import numpy as np

from mptq_export.evaluate.detection.agreement import intersection_over_union
from mptq_export.evaluate.detection.average_precision import Truth
from mptq_export.evaluate.detection.found import FoundObjects
from mptq_export.evaluate.numbering import misnumbered
from mptq_export.recipe.detector import Detector

_SAME_OBJECT = 0.5


def numbering_notes(truth: Truth, found: list[FoundObjects], detector: Detector) -> tuple[str, ...]:
    """A sentence where another numbering of the classes would make most boxes right (see `misnumbered`).

    Args:
        truth: what there is to find.
        found: on each picture.
        detector: that found it.
    """
    first = 1 if detector.family == "rcnn" else 0
    named, labels = [], []
    for objects, each in zip(truth.objects, found, strict=True):
        clear = [one for one in objects if not one.crowd]
        if not clear or not len(each.scores):
            continue
        boxes = np.array([one.box for one in clear], np.float32)
        boxes[:, 2:] += boxes[:, :2]
        overlaps = intersection_over_union(boxes, each.boxes)
        for one, row in zip(clear, overlaps, strict=True):
            same = np.flatnonzero(row >= _SAME_OBJECT)
            if len(same):
                named.append(int(each.labels[same[each.scores[same].argmax()]]) - first)
                labels.append(truth.labels[one.category] - first)
    told = misnumbered(np.array(named, np.int64), np.array(labels, np.int64), detector.classes) if named else None
    return () if told is None else (told,)

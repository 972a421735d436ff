"""FCOS and RetinaNet in ONNX: the steps of `mptq_export/detect/one_stage.py`."""

from collections.abc import Mapping

from mptq_export.detect.boxes import level_anchors
from mptq_export.emit.detector.boxes import clip, decode_deltas, decode_distances
from mptq_export.emit.detector.found import Found
from mptq_export.emit.detector.ops import Ops
from mptq_export.emit.detector.suppression import Candidates, suppress_in_groups
from mptq_export.recipe.detector import Detector, Level


def one_stage(op: Ops, detector: Detector, outputs: Mapping[str, str], inside: str) -> Found:
    """What is found in one input.

    Args:
        op: makes nodes.
        detector: of family `fcos` or `retinanet`.
        outputs: of a batch of one, by name.
        inside: int64 (height, width) of the input that the picture covers.
    """
    levels = [_of_level(op, detector, level, outputs) for level in detector.levels if level.anchors]
    boxes, scores, labels = (op("Concat", *each, axis=0) for each in zip(*levels, strict=True))
    found = Found(clip(op, boxes, inside), scores, labels)
    likely = op("Greater", found.scores, op.floats(detector.selection.score))
    candidates = Candidates(found.boxes, found.scores, found.labels, likely)
    selection = detector.selection
    return found.at(op, suppress_in_groups(op, candidates, detector.classes, selection.overlap, selection.kept))


def _of_level(op: Ops, detector: Detector, level: Level, outputs: Mapping[str, str]) -> tuple[str, str, str]:
    """Boxes, scores and labels of the best candidates of a level; some may be too unlikely."""
    anchors = level_anchors(level)
    scores = op("Sigmoid", outputs[f"scores.{level.name}"])
    if detector.family == "fcos":
        scores = op("Sqrt", op("Mul", scores, op("Sigmoid", outputs[f"centerness.{level.name}"])))
    count = min(detector.selection.candidates, len(anchors) * detector.classes)
    values, chosen = op.best(op.reshape(scores, -1), op.integers(count))
    candidates = op("Div", chosen, op.integers(detector.classes))
    labels = op("Sub", chosen, op("Mul", candidates, op.integers(detector.classes)))
    own = op.rows(op.floats(anchors), candidates)
    regressed = op.rows(op.reshape(outputs[f"boxes.{level.name}"], -1, 4), candidates)
    if detector.family == "fcos":
        boxes = decode_distances(op, regressed, own)
    else:
        boxes = decode_deltas(op, regressed, own, detector.box_weights)
    return boxes, values, labels

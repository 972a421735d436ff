"""Faster and Mask R-CNN in ONNX: the steps of `mptq_export/detect/proposals.py` and `box_results.py`."""

from collections.abc import Callable, Mapping

from mptq_export.detect.box_results import SMALLEST_RESULT
from mptq_export.detect.boxes import level_anchors
from mptq_export.emit.detector.boxes import at_least, clip, decode_deltas
from mptq_export.emit.detector.found import Found
from mptq_export.emit.detector.masks import mask_maps
from mptq_export.emit.detector.ops import Ops
from mptq_export.emit.detector.roi_align import Pooled, pool
from mptq_export.emit.detector.suppression import Candidates, best_of, moved_apart, non_maximum, suppress_in_groups
from mptq_export.recipe.detector import Detector, Level, Pooling, Regions

Head = Callable[[str], Mapping[str, str]]
"""The tensor of regions in, the head's outputs by name."""

_FILLING = (0.0, 0.0, 1.0, 1.0)
"""A region behind the last: no head ever sees none, which some kernels refuse."""


def proposals(op: Ops, detector: Detector, outputs: Mapping[str, str], inside: str) -> str:
    """Proposals [R, 4] of one input."""
    levels = [
        _of_level(op, detector, number, level, outputs) for number, level in enumerate(detector.levels) if level.anchors
    ]
    boxes, logits, groups = (op("Concat", *each, axis=0) for each in zip(*levels, strict=True))
    boxes, scores = clip(op, boxes, inside), op("Sigmoid", logits)
    likely = op("GreaterOrEqual", scores, op.floats(detector.selection.score))
    valid = op("And", likely, at_least(op, boxes, detector.smallest))
    candidates = Candidates(boxes, scores, groups, valid)
    selection = detector.selection
    return op.rows(boxes, suppress_in_groups(op, candidates, len(detector.levels), selection.overlap, selection.kept))


def _of_level(
    op: Ops, detector: Detector, number: int, level: Level, outputs: Mapping[str, str]
) -> tuple[str, str, str]:
    """Boxes, objectness and number of the level, of its best candidates."""
    anchors = level_anchors(level)
    count = min(detector.selection.candidates, len(anchors))
    logits, best = op.best(op.reshape(outputs[f"objectness.{level.name}"], -1), op.integers(count))
    deltas = op.rows(op.reshape(outputs[f"deltas.{level.name}"], -1, 4), best)
    boxes = decode_deltas(op, deltas, op.rows(op.floats(anchors), best), detector.box_weights)
    return boxes, logits, op.integers([number] * count)


def box_results(op: Ops, detector: Detector, outputs: Mapping[str, str], boxes: str, inside: str) -> Found:
    """What is found, from the box head's outputs for proposals [R, 4]; labels are 1 and more."""
    regions, classes = _regions(detector), detector.classes
    likely = op("Softmax", outputs["scores"], axis=-1)
    scores = op("Transpose", op.columns(likely, *range(1, classes + 1)), perm=[1, 0])  # [classes, R]
    deltas = op("Transpose", op.reshape(outputs["deltas"], -1, classes + 1, 4), perm=[1, 0, 2])
    deltas = op.rows(deltas, op.integers(range(1, classes + 1)))
    decoded = clip(op, decode_deltas(op, deltas, boxes, regions.box_weights), inside)  # [classes, R, 4]
    above = op("Greater", scores, op.floats(regions.selection.score))
    valid = op("And", above, at_least(op, decoded, SMALLEST_RESULT))
    labels = op("Expand", op.integers([[label] for label in range(1, classes + 1)]), op("Shape", scores))
    apart = moved_apart(op, decoded, labels, valid)
    counted = op("Unsqueeze", op("Where", valid, scores, op.floats(-1)), op.integers([1]))
    chosen = non_maximum(op, apart, counted, regions.selection.overlap)
    # Of equal scores the first proposal, of one proposal the first class.
    flat = op("Add", op("Mul", op.column(chosen, 2), op.integers(classes)), op.column(chosen, 0))
    found = Found(
        op.reshape(op("Transpose", decoded, perm=[1, 0, 2]), -1, 4),
        op.reshape(op("Transpose", scores, perm=[1, 0]), -1),
        op.reshape(op("Transpose", labels, perm=[1, 0]), -1),
    )
    return found.at(op, best_of(op, found.scores, flat, regions.selection.kept))


def run_box_head(op: Ops, detector: Detector, features: Mapping[str, str], boxes: str, head: Head) -> Mapping[str, str]:
    """The box head's outputs for proposals [R, 4], in their order."""
    pooled = _cut(op, _regions(detector).box_pooling, features, boxes)
    return {name: _in_order(op, pooled, value) for name, value in head(pooled.features).items()}


def run_mask_head(op: Ops, detector: Detector, features: Mapping[str, str], found: Found, head: Head) -> str:
    """Small maps [R, M, M] of what was found."""
    pooling = _regions(detector).mask_pooling
    assert pooling is not None
    pooled = _cut(op, pooling, features, found.boxes)
    labels = op("Concat", found.labels, op.integers([1]), axis=0)
    masks = op.rows(head(pooled.features)["masks"], pooled.back)
    return op.without_last(mask_maps(op, masks, labels))


def _cut(op: Ops, pooling: Pooling, features: Mapping[str, str], boxes: str) -> Pooled:
    return pool(op, pooling, features, op("Concat", boxes, op.floats([_FILLING]), axis=0))


def _in_order(op: Ops, pooled: Pooled, values: str) -> str:
    return op.without_last(op.rows(values, pooled.back))


def _regions(detector: Detector) -> Regions:
    assert detector.regions is not None
    return detector.regions

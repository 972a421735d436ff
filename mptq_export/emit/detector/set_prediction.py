"""DETR and YOLOS in ONNX: the steps of `mptq_export/detect/set_prediction.py`."""

from collections.abc import Mapping

from mptq_export.emit.detector.found import Found
from mptq_export.emit.detector.ops import Ops
from mptq_export.recipe.detector import Detector


def set_prediction(op: Ops, detector: Detector, outputs: Mapping[str, str]) -> Found:
    """What is found in one input; boxes are not cut at the borders.

    Args:
        op: makes nodes.
        detector: of family `set`.
        outputs: of a batch of one: `logits` and `pred_boxes`.
    """
    likely = op.without_last(op("Softmax", op.reshape(outputs["logits"], -1, detector.classes + 1), axis=-1), 1)
    top, label = op.builder.op("TopK", [likely, op.integers([1])], "glue.TopK", outputs=2, axis=1)
    scores, labels = op.reshape(top, -1), op.reshape(label, -1)
    given = op.reshape(outputs["pred_boxes"], -1, 4)
    centre, half = op.columns(given, 0, 1), op("Mul", op.floats(0.5), op.columns(given, 2, 3))
    height, width = detector.image
    ends = op("Concat", op("Sub", centre, half), op("Add", centre, half), axis=-1)
    boxes = op("Mul", ends, op.floats((width, height, width, height)))
    kept = op(
        "Min",
        op.total(op("Greater", scores, op.floats(detector.selection.score))),
        op.integers(detector.selection.kept),
    )
    return Found(boxes, scores, labels).at(op, op.best(scores, kept)[1])

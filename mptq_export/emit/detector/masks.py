"""Masks in ONNX: small maps to masks of the picture; the steps of `mptq_export/detect/mask_results.py`.

Along an axis a pixel reads two neighbours of a small map. As a matrix, in which the weight of place m at position p is
`max(0, 1 - |p - m|)`, that is `A_rows M A_columns^T` for all maps at once.
"""

from mptq_export.detect.detections import LIKELY
from mptq_export.detect.mask_results import BORDER
from mptq_export.emit.detector.ops import FLOAT, INT64, Ops


def mask_maps(op: Ops, masks: str, labels: str) -> str:
    """[R, rows, columns] in 0..1, from the mask head's output [R, classes + 1, rows, columns] and labels [R]."""
    own = op("GatherND", masks, op.reshape(labels, -1, 1), batch_dims=1)
    return op("Sigmoid", own)


def paste(op: Ops, small: str, boxes: str, size: str, side: int) -> str:
    """Masks of the picture, [R, height, width] bool.

    Args:
        op: makes nodes.
        small: [R, side, side].
        boxes: [R, 4] in pixels of the picture.
        size: int64 (height, width) of the picture.
        side: of the small maps.
    """
    framed = op("Pad", small, op.integers([0, BORDER, BORDER, 0, BORDER, BORDER]))
    low, high = op.columns(boxes, 0, 1), op.columns(boxes, 2, 3)
    extent = op("Mul", op("Mul", op("Sub", high, low), op.floats(0.5)), op.floats((side + 2 * BORDER) / side))
    centre = op("Mul", op("Add", high, low), op.floats(0.5))
    first = op.cast(op("Sub", centre, extent), INT64)  # rounded towards 0
    last = op.cast(op("Add", centre, extent), INT64)
    rows = _weights(op, op.columns(first, 1), op.columns(last, 1), op.column(size, 0), side + 2 * BORDER)
    columns = _weights(op, op.columns(first, 0), op.columns(last, 0), op.column(size, 1), side + 2 * BORDER)
    spread = op("MatMul", op("MatMul", rows, framed), op("Transpose", columns, perm=[0, 2, 1]))
    return op("Greater", spread, op.floats(LIKELY))


def _weights(op: Ops, first: str, last: str, length: str, side: int) -> str:
    """[R, length, side], how much each place of a framed map counts for each pixel; first and last are [R, 1]."""
    pixels = op("Range", op.integers(0), length, op.integers(1))
    count = op("Max", op("Add", op("Sub", last, first), op.integers(1)), op.integers(1))
    step = op("Div", op.floats(side), op.cast(count, FLOAT))
    middle = op("Add", op.cast(op("Sub", pixels, first), FLOAT), op.floats(0.5))
    places = op("Max", op("Sub", op("Mul", step, middle), op.floats(0.5)), op.floats(0))
    places = op("Unsqueeze", op("Min", places, op.floats(side - 1)), op.integers([-1]))
    distance = op("Abs", op("Sub", places, op.floats(range(side))))
    weights = op("Max", op("Sub", op.floats(1), distance), op.floats(0))
    covered = op("And", op("GreaterOrEqual", pixels, first), op("LessOrEqual", pixels, last))
    return op("Mul", weights, op("Unsqueeze", op.cast(covered, FLOAT), op.integers([-1])))

"""Boxes in ONNX: decoding, clipping, sides; the steps of `mptq_export/detect/boxes.py`."""

from mptq_export.detect.boxes import LARGEST_GROWTH
from mptq_export.emit.detector.ops import FLOAT, Ops


def decode_deltas(op: Ops, deltas: str, boxes: str, weights: tuple[float, float, float, float]) -> str:
    """Boxes [..., 4] from deltas [..., 4] of boxes whose leading axes go with them."""
    low, high = op.columns(boxes, 0, 1), op.columns(boxes, 2, 3)
    size = op("Sub", high, low)
    centre = op("Add", low, op("Mul", op.floats(0.5), size))
    change = op("Div", deltas, op.floats(weights))
    moved = op("Add", op("Mul", op.columns(change, 0, 1), size), centre)
    growth = op("Exp", op("Min", op.columns(change, 2, 3), op.floats(LARGEST_GROWTH)))
    extent = op("Mul", op.floats(0.5), op("Mul", growth, size))
    return op("Concat", op("Sub", moved, extent), op("Add", moved, extent), axis=-1)


def decode_distances(op: Ops, distances: str, anchors: str) -> str:
    """Boxes [N, 4] from distances [N, 4] of anchors [N, 4]."""
    low, high = op.columns(anchors, 0, 1), op.columns(anchors, 2, 3)
    centre = op("Mul", op.floats(0.5), op("Add", low, high))
    size = op("Sub", high, low)
    pixels = op("Mul", distances, op("Concat", size, size, axis=-1))
    sides = op("Sub", centre, op.columns(pixels, 0, 1)), op("Add", centre, op.columns(pixels, 2, 3))
    return op("Concat", *sides, axis=-1)


def clip(op: Ops, boxes: str, inside: str) -> str:
    """Boxes [..., 4] cut at the borders of (height, width), an int64 vector."""
    border = op.cast(op("Gather", inside, op.integers([1, 0, 1, 0]), axis=0), FLOAT)
    return op("Min", op("Max", boxes, op.floats(0)), border)


def at_least(op: Ops, boxes: str, side: float) -> str:
    """Which boxes [..., 4] have no shorter side."""
    large = op("GreaterOrEqual", op("Sub", op.columns(boxes, 2, 3), op.columns(boxes, 0, 1)), op.floats(side))
    return op("And", op.column(large, 0), op.column(large, 1))

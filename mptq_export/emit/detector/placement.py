"""Where a picture lies in the input, in ONNX: the steps of `mptq_export/data/placement.py`."""

from mptq_export.emit.detector.ops import FLOAT, Ops


def inside(op: Ops, size: str, image: tuple[int, int], *, keeps_sides: bool) -> str:
    """Int64 (height, width) that a picture covers in the input.

    Args:
        op: makes nodes.
        size: int64 (height, width) of the picture.
        image: of the input.
        keeps_sides: whether it lies in the top left corner with its sides in proportion, or all over the input.
    """
    if not keeps_sides:
        return op.integers(image)
    height, width = op.column(size, 0), op.column(size, 1)
    rows, columns = map(op.integers, image)
    wide = op("LessOrEqual", op("Mul", columns, height), op("Mul", rows, width))
    high = op("Where", wide, _scaled(op, height, columns, width), rows)
    across = op("Where", wide, columns, _scaled(op, width, rows, height))
    return op("Concat", op.reshape(high, 1), op.reshape(across, 1), axis=0)


def _scaled(op: Ops, edge: str, above: str, below: str) -> str:
    """`edge * above / below`, rounded, at least 1."""
    two = op.integers(2)
    doubled = op("Add", op("Mul", op("Mul", two, edge), above), below)
    return op("Max", op("Div", doubled, op("Mul", two, below)), op.integers(1))


def to_picture(op: Ops, boxes: str, covered: str, size: str) -> str:
    """Boxes [N, 4] of the input, in pixels of the picture.

    Args:
        op: makes nodes.
        boxes: of the input.
        covered: `inside`.
        size: int64 (height, width) of the picture.
    """
    factors = op("Div", op.cast(size, FLOAT), op.cast(covered, FLOAT))
    return op("Mul", boxes, op("Gather", factors, op.integers([1, 0, 1, 0]), axis=0))

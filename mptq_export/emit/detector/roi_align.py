"""RoIAlign over a pyramid in ONNX: a `RoiAlign` a level, each of the regions that belong there."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from mptq_export.detect.roi_align import levels_of_sides
from mptq_export.emit.detector.ops import Ops
from mptq_export.recipe.detector import Pooling


@dataclass(frozen=True)
class Pooled:
    """Regions that were cut out, those of the finest level first.

    Attributes:
        features: [R, channels, rows, columns].
        back: [R] int64, where each region is among them.
    """

    features: str
    back: str


def pool(op: Ops, pooling: Pooling, features: Mapping[str, str], boxes: str) -> Pooled:
    """What a head sees of each region.

    Args:
        op: makes nodes.
        pooling: where it is read and how large it becomes.
        features: by name of the level: [1, channels, rows, columns].
        boxes: [R, 4] in pixels of the input; one at least.
    """
    side = op("Sub", op.columns(boxes, 2, 3), op.columns(boxes, 0, 1))
    sides = op("Sqrt", op("Mul", op.column(side, 0), op.column(side, 1)))
    levels = op.integers(0)
    for border in level_borders(pooling):
        reached = op("GreaterOrEqual", sides, op.floats(border))
        levels = op("Add", levels, op.cast(reached, TensorProto.INT64))
    orders, pooled = [], []
    for number, (name, scale) in enumerate(zip(pooling.levels, pooling.scales, strict=True)):
        if len(pooling.levels) == 1:
            own = op("Range", op.integers(0), op.size(boxes, 0), op.integers(1))
        else:
            own = op.reshape(op("NonZero", op("Equal", levels, op.integers(number))), -1)
        regions = op.rows(boxes, own)
        image = op("Mul", own, op.integers(0))
        high, wide = pooling.size
        pooled.append(
            op(
                "RoiAlign",
                *(features[name], regions, image),
                output_height=high,
                output_width=wide,
                sampling_ratio=max(pooling.samples, 0),
                spatial_scale=scale,
                mode="avg",
                coordinate_transformation_mode="output_half_pixel",
            )
        )
        orders.append(own)
    order = op("Concat", *orders, axis=0)
    places = op("Range", op.integers(0), op.size(boxes, 0), op.integers(1))
    back = op("ScatterElements", order, order, places, axis=0)
    return Pooled(op("Concat", *pooled, axis=0), back)


def level_borders(pooling: Pooling) -> list[float]:
    """The least side, as the square root of an area, of each level but the finest.

    Found by halving the float32 numbers: so it is the level that logarithm and rounding give, whatever a runtime's are.
    """
    borders = []
    for level in range(1, len(pooling.levels)):
        low, high = (
            0,
            int(np.float32(np.finfo(np.float32).max).view(np.int32)),
        )  # floats above 0 are in order of their bits
        while high - low > 1:
            middle = (low + high) // 2
            side = np.array([middle], np.int32).view(np.float32)
            if levels_of_sides(pooling, side)[0] >= level:
                high = middle
            else:
                low = middle
        borders.append(float(np.array([high], np.int32).view(np.float32)[0]))
    return borders

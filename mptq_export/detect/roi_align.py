"""RoIAlign over a pyramid (He et al., Mask R-CNN, 2017), as torchvision's `MultiScaleRoIAlign` does it.

A bin is the mean of bilinear samples on a grid of its own. The weight of a sample at a position of the map is a product
of one along the rows and one along the columns, so what is cut out of a map F is `A_rows F A_columns^T`, with a small
matrix for each region and axis.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mptq_export.detect.numbers import Floats
from mptq_export.recipe.detector import Pooling

_LEVEL_EPSILON = 1e-6
"""torchvision adds so much to a level before it is rounded down."""


def pool(pooling: Pooling, features: Mapping[str, Floats], boxes: Floats) -> Floats:
    """What a head sees of each region.

    Args:
        pooling: where it is read and how large it becomes.
        features: of one input, by name of the level: [channels, rows, columns].
        boxes: [R, 4] (x1, y1, x2, y2) in pixels of the input.

    Returns:
        [R, channels, *pooling.size].
    """
    maps = [features[name] for name in pooling.levels]
    result = np.empty((len(boxes), len(maps[0]), *pooling.size), np.float32)
    levels = region_levels(pooling, boxes)
    for number, (values, scale) in enumerate(zip(maps, pooling.scales, strict=True)):
        regions = np.flatnonzero(levels == number)
        if len(regions):
            result[regions] = _align(values, boxes[regions] * np.float32(scale), pooling)
    return result


def region_levels(pooling: Pooling, boxes: Floats) -> NDArray[np.int64]:
    """Which of `pooling.levels` each region is read from (Lin et al., Feature Pyramid Networks, 2017, equation 1).

    Args:
        pooling: the levels.
        boxes: [R, 4].

    Returns:
        [R], numbers from 0.
    """
    return levels_of_sides(pooling, np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])))


def levels_of_sides(pooling: Pooling, sides: Floats) -> NDArray[np.int64]:
    """As `region_levels`, by the square roots of the areas [R]; it never falls from one side to a larger one."""
    with np.errstate(divide="ignore"):  # a region without area belongs to the finest level
        octaves = np.log2(sides / np.float32(pooling.canonical_size))
    levels = np.floor(np.float32(pooling.canonical_level) + octaves + np.float32(_LEVEL_EPSILON))
    finest, coarsest = (int(-np.log2(scale)) for scale in (pooling.scales[0], pooling.scales[-1]))
    numbers: NDArray[np.int64] = np.clip(levels, finest, coarsest).astype(np.int64) - finest
    return numbers


def _align(values: Floats, regions: Floats, pooling: Pooling) -> Floats:
    """What is cut out of one map.

    Args:
        values: [channels, rows, columns].
        regions: [R, 4] in positions of the map.
        pooling: bins and samples.

    Returns:
        [R, channels, *pooling.size].
    """
    channels, rows, columns = values.shape
    high, wide = pooling.size
    down = _weights(regions[:, 1], regions[:, 3], high, rows, pooling.samples)
    right = _weights(regions[:, 0], regions[:, 2], wide, columns, pooling.samples)
    tops, bottoms = _reach(down)
    lefts, rights = _reach(right)
    # Channels last: a window of rows and columns is a view in which BLAS sees one matrix.
    flat = np.ascontiguousarray(values.transpose(1, 2, 0)).reshape(rows, columns * channels)
    result = np.empty((len(regions), high, wide, channels), np.float32)
    for number in range(len(regions)):
        top, bottom, left, right_end = tops[number], bottoms[number], lefts[number], rights[number]
        window = flat[top:bottom, left * channels : right_end * channels]
        over_rows = (down[number, :, top:bottom] @ window).reshape(high, right_end - left, channels)
        np.matmul(right[number, :, left:right_end], over_rows, out=result[number])
    return result.transpose(0, 3, 1, 2)


def _weights(start: Floats, end: Floats, bins: int, length: int, samples: int) -> Floats:
    """How much each position of an axis counts for each bin.

    Args:
        start: [R] where the regions begin, in positions; not moved by half a one.
        end: [R] where they end.
        bins: how many.
        length: of the axis.
        samples: in a bin; 0 or less for as many as it has positions, rounded up.

    Returns:
        [R, bins, length].
    """
    size = np.maximum(end - start, np.float32(1)) / np.float32(bins)  # of a bin; a region has at least one position
    counts = np.full(len(start), samples, np.float32) if samples > 0 else np.ceil(size)
    steps = np.arange(int(counts.max()), dtype=np.float32)
    offsets = (steps + np.float32(0.5)) * size[:, None] / counts[:, None]
    first = start[:, None] + np.arange(bins, dtype=np.float32) * size[:, None]
    places = first[:, :, None] + offsets[:, None, :]  # [R, bins, samples]
    # A sample more than one position outside is 0; the others are held at the border.
    counted = (places >= -1) & (places <= length) & (steps < counts[:, None])[:, None, :]
    places = np.clip(places, np.float32(0), np.float32(length - 1))
    low = places.astype(np.intp)
    part = places - low.astype(np.float32)
    share = np.where(counted, np.float32(1) / counts[:, None, None], np.float32(0))
    result = np.zeros((len(start), bins, length), np.float32)
    region, number = np.ogrid[: len(start), :bins]
    where = (region[..., None], number[..., None])
    np.add.at(result, (*where, low), share * (np.float32(1) - part))
    np.add.at(result, (*where, np.minimum(low + 1, length - 1)), share * part)
    return result


def _reach(weights: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The first position that counts for anything in each region, and the one behind the last; one at least."""
    used = (weights != 0).any(axis=1)
    length = used.shape[1]
    some = used.any(axis=1)
    first = np.where(some, used.argmax(axis=1), 0)
    return first, np.where(some, length - used[:, ::-1].argmax(axis=1), 1)

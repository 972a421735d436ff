"""Where a whole picture lies in a model's input, and the way back from there for boxes and maps."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_STRIP = 64
"""Rows at a time."""


@dataclass(frozen=True)
class Placement:
    """A picture that was resized into the top left corner of an input, or over all of it.

    Coordinates are those of edges: a picture reaches from 0 to its width, and the first pixel from 0 to 1.

    Attributes:
        picture: (height, width) of the picture, in pixels.
        inside: (height, width) that it takes of the input.
        image: (height, width) of the input; what the picture does not take is filled with the mean.
    """

    picture: tuple[int, int]
    inside: tuple[int, int]
    image: tuple[int, int]

    @property
    def scale(self) -> tuple[float, float]:
        """Pixels of the input by pixels of the picture: (down, right)."""
        return self.inside[0] / self.picture[0], self.inside[1] / self.picture[1]

    def to_input(self, boxes: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Boxes (..., 4) as x1, y1, x2, y2 in pixels of the picture, in pixels of the input."""
        down, right = self.scale
        found: NDArray[np.float64] = boxes * np.array([right, down, right, down])
        return found.astype(np.float32)

    def to_picture(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes (..., 4) as x1, y1, x2, y2 in pixels of the input, in pixels of the picture.

        They are not cut at its borders. The steps in float32 are those of torchvision's `resize_boxes`.
        """
        down, right = (
            np.float32(own) / np.float32(inside) for own, inside in zip(self.picture, self.inside, strict=True)
        )
        return boxes * np.array((right, down, right, down), np.float32)

    def map_to_picture(
        self, values: NDArray[np.floating[Any]], size: tuple[int, int] | None = None
    ) -> NDArray[np.float32]:
        """A map over the input as one over the picture: bilinear, pixels as areas (`align_corners=False`).

        Beyond the centres of the outermost positions that lie in the picture, values go on as they are there: none is
        mixed with a position that lies in the filling alone.

        Args:
            values: (channels, rows, columns), of any number of positions over the whole input.
            size: (height, width) of the result; None for the picture's own.
        """
        down, right = self._axes(values.shape[1:], size or self.picture)
        return _mixed(_mixed(values.astype(np.float32), right, 2), down, 1)

    def classes_on_picture(self, values: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
        """The channel with the largest value of `map_to_picture`, of every pixel of the picture: (height, width).

        It is computed some rows at a time: all channels of a large picture may not fit into memory.
        """
        down, right = self._axes(values.shape[1:], self.picture)
        wide = _mixed(values.astype(np.float32), right, 2)
        strips = [
            _mixed(wide, down.part(start, start + _STRIP), 1).argmax(0) for start in range(0, self.picture[0], _STRIP)
        ]
        return np.concatenate(strips).astype(np.int64)

    def _axes(self, positions: tuple[int, ...], size: tuple[int, int]) -> "tuple[_Axis, _Axis]":
        down, right = (_weights(*each) for each in zip(size, self.inside, self.image, positions, strict=True))
        return down, right


def corner(picture: tuple[int, int], image: tuple[int, int]) -> Placement:
    """A picture with its sides in proportion, as large as fits, in the top left corner.

    Args:
        picture: (height, width).
        image: (height, width) of the input.
    """
    (height, width), (rows, columns) = picture, image
    if columns * height <= rows * width:
        inside = _scaled(height, columns, width), columns
    else:
        inside = rows, _scaled(width, rows, height)
    return Placement(picture, inside, image)


def squash(picture: tuple[int, int], image: tuple[int, int]) -> Placement:
    """A picture (height, width) over all of an input (height, width)."""
    return Placement(picture, image, image)


def _scaled(edge: int, above: int, below: int) -> int:
    """`edge * above / below`, rounded, at least 1: whole numbers alone, so the same everywhere."""
    return max(1, (2 * edge * above + below) // (2 * below))


@dataclass(frozen=True)
class _Axis:
    """Which two positions a result reads along an axis, and how much of the second."""

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    share: NDArray[np.float32]

    def part(self, start: int, stop: int) -> "_Axis":
        """Some of the results."""
        return _Axis(self.first[start:stop], self.second[start:stop], self.share[start:stop])


def _weights(wanted: int, inside: int, image: int, positions: int) -> _Axis:
    step = inside * positions / (image * wanted)  # positions of the map by pixel of the result
    last = max(-(-inside * positions // image) - 1, 0)
    at = np.clip((np.arange(wanted) + 0.5) * step - 0.5, 0, last)
    first = np.floor(at).astype(np.intp)
    return _Axis(first, np.minimum(first + 1, last), (at - first).astype(np.float32))


def _mixed(values: NDArray[np.float32], axis: _Axis, number: int) -> NDArray[np.float32]:
    shape = [1, 1, 1]
    shape[number] = -1
    share = axis.share.reshape(shape)
    first, second = (np.take(values, places, number) for places in (axis.first, axis.second))
    return first * (1 - share) + second * share

"""Outliers of weight codes with regions, stored by their positions.

Of every outlier the file has the distance to the one before, in flat order, as a byte, and what it adds to its core
level, in steps of `2 ** shift`, as 4 bits. A longer way than a byte holds goes over elements to which 0 is added.
CumSum makes positions of distances, and ScatterElements adds there: all of constants, so that onnxruntime folds it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mptq_export.emit.builder import INT32, OnnxBuilder
from mptq_export.emit.exact.packed_bits import four_bits

#: Most nodes that add outliers.
OUTLIER_NODES = 7

#: The longest distance.
_FARTHEST = 255


@dataclass(frozen=True)
class Outliers:
    """What is added to core levels.

    Attributes:
        distances: to the element before, of the first one to the beginning: uint8 [M].
        payloads: what is added there, in steps of `2 ** shift`: int8 [M], -8 to 7.
        shift: u of the step.
    """

    distances: NDArray[np.uint8]
    payloads: NDArray[np.int8]
    shift: int

    @staticmethod
    def of(payload: NDArray[np.int8], shift: int) -> "Outliers":
        """The outliers of a weight.

        Args:
            payload: what every element adds, 0 where it is a core level; any shape.
            shift: u of the step.
        """
        flat = payload.ravel()
        positions = np.flatnonzero(flat)
        distances = np.diff(positions, prepend=0)
        before = np.maximum(distances - 1, 0) // _FARTHEST  # elements on the way
        place = np.cumsum(before + 1) - 1
        total = int(place[-1]) + 1 if len(place) else 0
        found, added = np.full(total, _FARTHEST, np.uint8), np.zeros(total, np.int8)
        found[place], added[place] = distances - before * _FARTHEST, flat[positions]
        return Outliers(found, added, shift)

    @property
    def stored(self) -> int:
        """Bytes of the two tensors."""
        return len(self.distances) + (len(self.payloads) + 1) // 2

    def emit(self, builder: OnnxBuilder, name: str, core: str, shape: tuple[int, ...]) -> str:
        """The sum of core levels and outliers.

        Args:
            builder: the graph under construction.
            name: of the weight.
            core: int8 tensor of the core levels.
            shape: of it.
        """
        count = len(self.distances)
        distances = builder.own_constant(f"{name}.distances", self.distances.reshape(1, count))
        distances = builder.one("Cast", [distances], f"{name}.steps", to=INT32)
        positions = builder.one("CumSum", [distances, builder.scalar(1, np.int64)], f"{name}.places")
        payloads = four_bits(builder, f"{name}.payloads", self.payloads.reshape(1, count))
        payloads = builder.one("Cast", [payloads], f"{name}.number", to=INT32)
        steps = np.array([*range(8), *range(-8, 0)], np.int8) << self.shift  # negative numbers count from the end
        table = builder.constant(f"outliers{self.shift}", steps)
        payloads = builder.one("Gather", [table, payloads], f"{name}.added", axis=0)
        # Not 1-D: shape inference would take every element for a dimension.
        flat = builder.one("Reshape", [core, builder.shape([1, -1])], f"{name}.flat")
        inputs = [flat, positions, payloads]
        added = builder.one("ScatterElements", inputs, f"{name}.all", axis=1, reduction="add")
        return builder.one("Reshape", [added, builder.shape(list(shape))], name)

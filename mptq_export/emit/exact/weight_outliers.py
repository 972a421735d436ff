"""Outliers of weight codes with regions, stored by their positions.

Of every outlier the file has the distance to the one before, in flat order, as a byte, and what it adds to its core
level, in steps of `2 ** shift`, as 4 bits. A longer way than a byte holds goes over elements to which 0 is added.
CumSum makes positions of distances, and ScatterElements adds there: all of constants, so that onnxruntime folds it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mptq_export.emit.builder import INT32, OnnxBuilder
from mptq_export.emit.exact.packed_bits import look_up, pack_bits

#: Most nodes that add outliers.
OUTLIER_NODES = 6

#: The longest distance.
_FARTHEST = 255


@dataclass(frozen=True)
class Outliers:
    """What is added to core levels.

    Attributes:
        distances: to the element before, of the first one to the beginning: uint8 [M], M even.
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
        if total % 2:  # nothing is added once more to the last
            found, added = np.append(found, np.uint8(0)), np.append(added, np.int8(0))
        return Outliers(found, added, shift)

    @property
    def stored(self) -> int:
        """Bytes of the two tensors."""
        return len(self.distances) + len(self.payloads) // 2

    def emit(self, builder: OnnxBuilder, name: str, core: str) -> str:
        """The sum of core levels and outliers, int8 [1, elements].

        Args:
            builder: the graph under construction.
            name: of the weight.
            core: the core levels, int8 [1, elements]; not 1-D, as shape inference would take every element for a
                dimension.
        """
        distances = builder.own_constant(f"{name}.distances", self.distances.reshape(1, -1))
        distances = builder.one("Cast", [distances], f"{name}.steps", to=INT32)
        positions = builder.one("CumSum", [distances, builder.scalar(1, np.int64)], f"{name}.places")
        packed = pack_bits(self.payloads.view(np.uint8) & np.uint8(15), 4, interleaved=True)
        steps = np.array([*range(8), *range(-8, 0)], np.int8) << np.int8(self.shift)
        added = look_up(builder, f"{name}.added", packed, steps)
        return builder.one("ScatterElements", [core, positions, added], f"{name}.all", axis=1, reduction="add")

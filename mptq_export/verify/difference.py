"""Counting the values in which two tensors differ.

Values are equal when their *bits* are: 0.0 and -0.0 differ, as 1/x would show. A NaN is never equal, not even to
itself: what a CPU makes of it in QuantizeLinear is undefined, so a file that produces one is not reproducible.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mptq_export.support.json_files import Json


@dataclass(frozen=True)
class Difference:
    """How many values of a tensor differ, over all inputs so far.

    Attributes:
        values: number of values compared.
        differing: how many of them differ.
        zero_signs: how many of `differing` are 0.0 against -0.0.
        largest: largest absolute difference; infinite where a NaN or another shape or type is involved.
        note: what is wrong beyond values, such as another shape; empty if nothing is.
    """

    values: int = 0
    differing: int = 0
    zero_signs: int = 0
    largest: float = 0.0
    note: str = ""

    def __add__(self, other: "Difference") -> "Difference":
        return Difference(
            self.values + other.values,
            self.differing + other.differing,
            self.zero_signs + other.zero_signs,
            max(self.largest, other.largest),
            self.note or other.note,
        )

    def to_json(self) -> dict[str, Json]:
        """Plain JSON values; JSON has no infinity, so an infinite `largest` is null."""
        return asdict(self) | {"largest": self.largest if np.isfinite(self.largest) else None}


def difference(got: NDArray[Any], expected: NDArray[Any]) -> Difference:
    """Compare two tensors bit by bit.

    Args:
        got: the runtime's tensor.
        expected: the reference's tensor. Another shape or type makes every value differ, and so does an empty
            tensor against one that is not.
    """
    size = max(got.size, expected.size, 1)
    if got.dtype != expected.dtype:
        return Difference(size, size, 0, np.inf, f"type {got.dtype} against {expected.dtype}")
    if got.shape != expected.shape:
        return Difference(size, size, 0, np.inf, f"shape {got.shape} against {expected.shape}")
    got, expected = _comparable(got), _comparable(expected)
    unequal = got != expected
    zero_signs = 0
    if got.dtype.kind == "f":
        flipped = ~unequal & (np.signbit(got) != np.signbit(expected))  # equal but for the sign: both are 0
        zero_signs = int(np.count_nonzero(flipped))
        unequal |= flipped
    differing = int(np.count_nonzero(unequal))
    if not differing:
        return Difference(got.size)
    with np.errstate(invalid="ignore"):
        distance = np.abs(got[unequal].astype(np.float64) - expected[unequal].astype(np.float64))
    largest = float(np.nan_to_num(distance.max(), nan=np.inf))
    return Difference(got.size, differing, zero_signs, largest, "NaN" if np.isnan(distance).any() else "")


def _comparable(x: NDArray[Any]) -> NDArray[Any]:
    """The same numbers and signs in a type of NumPy's own: the onnx package adds narrow floats and integers."""
    if x.dtype.isbuiltin == 1:
        return x
    return x.astype(np.float32 if "float" in x.dtype.name else np.int8 if x.dtype.name[0] == "i" else np.uint8)

"""Small words of the glue in ONNX: what NumPy says with brackets and operators."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from mptq_export.emit.builder import OnnxBuilder

INT64, FLOAT = TensorProto.INT64, TensorProto.FLOAT


class Ops:
    """Nodes of the glue, under names that begin with `glue`.

    Attributes:
        builder: collects them.
    """

    def __init__(self, builder: OnnxBuilder) -> None:
        self.builder = builder

    def __call__(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        """A node with one result."""
        return self.builder.one(op_type, list(inputs), f"glue.{op_type}", **attributes)

    def floats(self, values: Any) -> str:
        """A float32 constant."""
        return self._constant(np.asarray(values, np.float32))

    def integers(self, values: Any) -> str:
        """An int64 constant."""
        return self._constant(np.asarray(values, np.int64))

    def _constant(self, array: NDArray[Any]) -> str:
        return self.builder.constant("glue.constant", array)

    def reshape(self, x: str, *dims: int) -> str:
        """Reshape; -1 is whatever is left, 0 what it is."""
        return self("Reshape", x, self.integers(dims))

    def columns(self, x: str, *numbers: int) -> str:
        """Some elements of the last axis."""
        return self("Gather", x, self.integers(numbers), axis=-1)

    def column(self, x: str, number: int) -> str:
        """One element of the last axis, which is gone then."""
        return self("Gather", x, self.integers(number), axis=-1)

    def rows(self, x: str, indices: str) -> str:
        """Some elements of the first axis."""
        return self("Gather", x, indices, axis=0)

    def size(self, x: str, axis: int) -> str:
        """Length of an axis, a scalar."""
        return self("Gather", self("Shape", x), self.integers(axis), axis=0)

    def best(self, scores: str, count: str) -> tuple[str, str]:
        """The highest of a vector, the first of equal ones first: values and indices.

        Args:
            scores: [N].
            count: a scalar, at most N.
        """
        values, indices = self.builder.op("TopK", [scores, self.reshape(count, 1)], "glue.TopK", outputs=2, axis=0)
        return values, indices

    def without_last(self, x: str, axis: int = 0) -> str:
        """All but the last element of an axis."""
        return self("Slice", x, self.integers([0]), self.integers([-1]), self.integers([axis]))

    def total(self, mask: str) -> str:
        """How many are true, an int64 scalar."""
        return self("ReduceSum", self("Cast", mask, to=INT64), keepdims=0)

    def cast(self, x: str, to: int) -> str:
        """Cast."""
        return self("Cast", x, to=to)

"""The one input of a graph: its name, type and shape, as the file declares it or as a session has it."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from mptq_export.runtime.session import NUMPY_TYPES
from mptq_export.support.errors import MptqError

MOST_VALUES = 2**24
"""Values of one input: the pixels of an image of 2364 x 2364. What is larger is not run to find out what happens."""
_LARGEST_BATCH = 8


@dataclass(frozen=True)
class GraphInput:
    """The graph's one input.

    Attributes:
        name: its name in the graph.
        dtype: NumPy's name of its type, such as ``float32``.
        shape: its dimensions; a name or None where the size is free.
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]

    def batch(self, wanted: int) -> int:
        """The batch size to run at: the graph's own where it is fixed, else `wanted`.

        Raises:
            MptqError: the graph takes no batch, or a batch of none.
        """
        own = self.shape[0] if self.shape else 0
        sizes = [size for size in self.shape if isinstance(size, int)]
        if own == 0 or min(sizes, default=1) < 1:
            raise MptqError(f"input {self.name} has shape {list(self.shape)}, which holds no batch of inputs")
        each = math.prod(size for size in self.shape[1:] if isinstance(size, int))
        if max(each, math.prod(sizes) // _LARGEST_BATCH) > MOST_VALUES:
            raise MptqError(
                f"input {self.name} has shape {list(self.shape)}: more than {MOST_VALUES:,} values an input, or "
                f"{_LARGEST_BATCH} times as many a batch, are not run"
            )
        return own if isinstance(own, int) else wanted

    def convert(self, array: NDArray[Any]) -> NDArray[Any]:
        """The array, if the graph takes its type.

        Raises:
            MptqError: the array's type is not the input's.
        """
        if array.dtype != np.dtype(self.dtype):
            raise MptqError(f"input {self.name} takes {self.dtype}, not {array.dtype}; convert the inputs first")
        return array


def declared_input(model: onnx.ModelProto) -> GraphInput:
    """The one input that a file declares, before anything runs it.

    Raises:
        MptqError: the graph has several inputs, or one of a type that NumPy does not have.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    entries = [entry for entry in model.graph.input if entry.name not in constants]
    kind = entries[0].type.tensor_type.elem_type if len(entries) == 1 else 0
    name = (
        onnx.TensorProto.DataType.Name(kind).lower() if kind in onnx.TensorProto.DataType.values() else f"type {kind}"
    )
    shapes = [
        tuple(
            dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None
            for dim in entry.type.tensor_type.shape.dim
        )
        for entry in entries
    ]
    return _one_input([(entry.name, f"tensor({name})", shape) for entry, shape in zip(entries, shapes, strict=True)])


def graph_input(session: ort.InferenceSession) -> GraphInput:
    """The session's one input.

    Raises:
        MptqError: the graph has several inputs, or one of a type that NumPy does not have.
    """
    return _one_input([(entry.name, entry.type, tuple(entry.shape)) for entry in session.get_inputs()])


def _one_input(inputs: list[tuple[str, str, tuple[int | str | None, ...]]]) -> GraphInput:
    """The input, from the names, types (as onnxruntime writes them) and shapes of all."""
    if len(inputs) != 1:
        names = ", ".join(name for name, _, _ in inputs) or "none"
        raise MptqError(f"the graph needs exactly one input, it has {len(inputs)} ({names}); name another file")
    ((name, kind, shape),) = inputs
    if kind not in NUMPY_TYPES:
        raise MptqError(f"input {name} has type {kind}, which is not supported; use float32 or uint8")
    return GraphInput(name, NUMPY_TYPES[kind], shape)

"""Opening an ONNX file and its onnxruntime session; whatever goes wrong is one line."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from kernels_ref import InterpreterError, read_model
from mptq_export.support.errors import MptqError
from mptq_export.verify.rare_types import RARE_TYPES, to_array

RUNTIME_ERRORS: tuple[type[Exception], ...] = (
    ort_state.EPFail,
    ort_state.Fail,
    ort_state.InvalidArgument,
    ort_state.InvalidGraph,
    ort_state.InvalidProtobuf,
    ort_state.NoSuchFile,
    ort_state.NotImplemented,
    ort_state.RuntimeException,
)
"""Every way in which onnxruntime says no: its exceptions have no common base of their own."""

MOST_VALUES = 2**24
"""Values of one input: the pixels of an image of 2364 x 2364. What is larger is not run to find out what happens."""
_LARGEST_BATCH = 8

_ERRORS_ONLY = 3
_MAX_QUOTE = 300

# Only what NumPy can hold; the others are in `rare_types`.
NUMPY_TYPES = {
    "tensor(bool)": "bool",
    "tensor(double)": "float64",
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(int8)": "int8",
    "tensor(uint16)": "uint16",
    "tensor(uint32)": "uint32",
    "tensor(uint64)": "uint64",
    "tensor(uint8)": "uint8",
}


def is_readable(kind: str) -> bool:
    """Whether values of a type, as onnxruntime names it, can be compared: tensors of numbers and truth values."""
    return kind in NUMPY_TYPES or kind in RARE_TYPES


def one_line(error: Exception) -> str:
    """The error's text on one line, shortened to what a terminal can show."""
    text = " ".join(str(error).split())
    return text if len(text) <= _MAX_QUOTE else text[:_MAX_QUOTE] + "..."


def load_onnx(path: Path) -> onnx.ModelProto:
    """Read an ONNX file, with the data that it keeps in other files of its folder.

    Raises:
        MptqError: the file is missing, is a folder, is truncated, holds no graph, or has its data outside its folder.
    """
    try:
        model = read_model(path)
    except InterpreterError as error:
        raise MptqError(f"{one_line(error)}; name a whole ONNX file, or export it again") from error
    if not model.graph.node:
        raise MptqError(f"{path} holds no ONNX graph; name a file that mptq-export wrote")
    return model


def metadata_of(model: onnx.ModelProto) -> dict[str, str]:
    """The file's metadata as a dictionary."""
    return {entry.key: entry.value for entry in model.metadata_props}


def open_session(path: Path, options: ort.SessionOptions | None = None, *, threads: int = 0) -> ort.InferenceSession:
    """A CPU session with onnxruntime's default options, which are the contract.

    Args:
        path: the ONNX file.
        options: session options to start from; onnxruntime's defaults when left out.
        threads: threads within an operator; 0 is onnxruntime's own choice.

    Raises:
        MptqError: onnxruntime refuses the file.
    """
    options = options or ort.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = threads
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except RUNTIME_ERRORS as error:
        raise MptqError(f"onnxruntime cannot load {path}: {one_line(error)}; export it again") from error


def run_session(
    session: ort.InferenceSession, names: list[str], feed: dict[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """Run a session and return its outputs by name.

    Raises:
        MptqError: onnxruntime fails, for instance because the input's shape is not the graph's.
    """
    rare = any(entry.type in RARE_TYPES and entry.name in names for entry in session.get_outputs())
    try:
        if rare:
            given = {name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in feed.items()}
            values = [to_array(value) for value in session.run_with_ort_values(names, given)]
        else:
            values = session.run(names, feed)
        return dict(zip(names, values, strict=True))
    except RUNTIME_ERRORS as error:
        raise MptqError(f"onnxruntime cannot run the model: {one_line(error)}; check the input's shape") from error


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

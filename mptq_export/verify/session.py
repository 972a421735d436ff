"""Opening an ONNX file and its onnxruntime session; whatever goes wrong is one line."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from mptq_export.errors import MptqError

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

_ERRORS_ONLY = 3
_MAX_QUOTE = 300

# Only what NumPy can hold; onnxruntime cannot hand out the others (4-bit types, bfloat16, float8).
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


def one_line(error: Exception) -> str:
    """The error's text on one line, shortened to what a terminal can show."""
    text = " ".join(str(error).split())
    return text if len(text) <= _MAX_QUOTE else text[:_MAX_QUOTE] + "..."


def load_onnx(path: Path) -> onnx.ModelProto:
    """Read an ONNX file.

    Raises:
        MptqError: the file is missing, is a folder, is truncated, or holds no graph.
    """
    try:
        model = onnx.load(path)
    except OSError as error:
        raise MptqError(f"cannot read {path}: {error.strerror or error}; name an ONNX file") from error
    except (DecodeError, onnx.checker.ValidationError, ValueError) as error:
        raise MptqError(f"{path} is not a whole ONNX file ({one_line(error)}); export it again") from error
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
    try:
        return dict(zip(names, session.run(names, feed), strict=True))
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
        if own == 0:
            raise MptqError(f"input {self.name} has shape {list(self.shape)}, which holds no batch of inputs")
        return own if isinstance(own, int) else wanted

    def convert(self, array: NDArray[Any]) -> NDArray[Any]:
        """The array, if the graph takes its type.

        Raises:
            MptqError: the array's type is not the input's.
        """
        if array.dtype != np.dtype(self.dtype):
            raise MptqError(f"input {self.name} takes {self.dtype}, not {array.dtype}; convert the inputs first")
        return array


def graph_input(session: ort.InferenceSession) -> GraphInput:
    """The session's one input.

    Raises:
        MptqError: the graph has several inputs, or one of a type that NumPy does not have.
    """
    inputs = session.get_inputs()
    if len(inputs) != 1:
        names = ", ".join(entry.name for entry in inputs) or "none"
        raise MptqError(f"the graph needs exactly one input, it has {len(inputs)} ({names}); name another file")
    (entry,) = inputs
    if entry.type not in NUMPY_TYPES:
        raise MptqError(f"input {entry.name} has type {entry.type}, which is not supported; use float32 or uint8")
    return GraphInput(entry.name, NUMPY_TYPES[entry.type], tuple(entry.shape))

"""An onnxruntime session of a file; whatever goes wrong is one line."""

import os
from pathlib import Path
from typing import Any

import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from mptq_export.runtime.rare_types import RARE_TYPES, to_array
from mptq_export.support.errors import MptqError

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


def error_line(error: Exception) -> str:
    """The error's text on one line, shortened to what a terminal can show."""
    text = " ".join(str(error).split())
    return text if len(text) <= _MAX_QUOTE else text[:_MAX_QUOTE] + "..."


def open_session(path: Path, options: ort.SessionOptions | None = None, *, threads: int = 0) -> ort.InferenceSession:
    """A CPU session with onnxruntime's default options, which are the contract.

    Args:
        path: the ONNX file.
        options: session options to start from; onnxruntime's defaults when left out.
        threads: threads within an operator; 0 is onnxruntime's own choice, of the CPUs that this process may use.

    Raises:
        MptqError: onnxruntime refuses the file.
    """
    options = options or ort.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = threads or _threads_of_own()
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except RUNTIME_ERRORS as error:
        raise MptqError(f"onnxruntime cannot load {path}: {error_line(error)}; export it again") from error


def _threads_of_own() -> int:
    """As many threads as this process has CPUs, where it may not use all of the machine; else 0.

    The threads of its own choice onnxruntime binds to all cores of the machine, whatever the process may use: beside
    others they wait for each other (https://github.com/microsoft/onnxruntime/issues/8313).
    """
    if not hasattr(os, "sched_getaffinity"):
        return 0
    own = len(os.sched_getaffinity(0))
    return own if own < (os.cpu_count() or 0) else 0


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
        raise MptqError(f"onnxruntime cannot run the model: {error_line(error)}; check the input's shape") from error

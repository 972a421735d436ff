"""Reading an ONNX file with `kernels_ref`, which refuses more than the onnx package does."""

from pathlib import Path

import onnx

from kernels_ref import InterpreterError, read_model
from mptq_export.runtime.session import error_line
from mptq_export.support.errors import MptqError


def load_onnx(path: Path) -> onnx.ModelProto:
    """Read an ONNX file, with the data that it keeps in other files of its folder.

    Raises:
        MptqError: the file is missing, is a folder, is truncated, holds no graph, or has its data outside its folder.
    """
    try:
        model = read_model(path)
    except InterpreterError as error:
        raise MptqError(f"{error_line(error)}; name a whole ONNX file, or export it again") from error
    if not model.graph.node:
        raise MptqError(f"{path} holds no ONNX graph; name a file that mptq-export wrote")
    return model


def metadata_of(model: onnx.ModelProto) -> dict[str, str]:
    """The file's metadata as a dictionary."""
    return {entry.key: entry.value for entry in model.metadata_props}

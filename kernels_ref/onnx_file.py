"""Reads an ONNX file with the data that it keeps in other files, and opens nothing outside of its folder."""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import external_data_helper, helper

from kernels_ref.errors import InterpreterError

_PROTOBUF_LIMIT = 2**31
_FOUR_BITS = (onnx.TensorProto.INT4, onnx.TensorProto.UINT4, onnx.TensorProto.FLOAT4E2M1)


def read_model(path: Path) -> onnx.ModelProto:
    """Read an ONNX file with the data that it keeps in other files of its folder.

    Nothing outside of the folder is opened, and no more is read than the shapes of the tensors ask for.

    Raises:
        InterpreterError: the file is not an ONNX model, or its data is elsewhere, or not as long as its shape says.
    """
    if path.exists() and not path.is_file():
        raise InterpreterError(f"cannot read {path}: it is no file")
    try:
        size = path.stat().st_size
        model = onnx.ModelProto() if size > _PROTOBUF_LIMIT else onnx.load_model_from_string(path.read_bytes())
    except OSError as error:
        raise InterpreterError(f"cannot read {path}: {error.strerror}") from error
    except (DecodeError, ValueError) as error:
        raise InterpreterError(f"{path} is not an ONNX file, or cut short") from error
    if size > _PROTOBUF_LIMIT:
        raise InterpreterError(f"{path} is above 2 GiB, which no ONNX file can be")
    for tensor in _tensors(model):
        if external_data_helper.uses_external_data(tensor):
            _read_external(tensor, path.parent)
    return model


def _read_external(tensor: onnx.TensorProto, folder: Path) -> None:
    """Put the bytes of another file into a tensor."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    _check_location(tensor.name, location, folder)
    try:
        size = _byte_size(tensor)
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", size))
        file = folder / location
        if offset < 0 or length != size or not file.is_file() or file.stat().st_size < offset + size:
            raise ValueError(f"its shape asks for {size} bytes from {offset} on, which {location!r} does not have")
        with file.open("rb") as stream:
            stream.seek(offset)
            tensor.raw_data = stream.read(size)
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise InterpreterError(f"cannot read the data of tensor {tensor.name}: {reason}") from error
    del tensor.external_data[:]
    tensor.data_location = onnx.TensorProto.DEFAULT


def check_dims(tensor: onnx.TensorProto) -> None:
    """Refuse negative sizes, which NumPy would work out by itself.

    Raises:
        ValueError: there is one.
    """
    if min(tensor.dims, default=0) < 0:
        raise ValueError(f"the shape {list(tensor.dims)} has negative sizes")


def _byte_size(tensor: onnx.TensorProto) -> int:
    """Bytes of a tensor's elements; two of 4 bits share one."""
    check_dims(tensor)
    count: int = math.prod(tensor.dims)
    if tensor.data_type in _FOUR_BITS:
        return -(-count // 2)
    return count * int(np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type)).itemsize)


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor, those of functions and of the bodies of nodes too."""
    yield from _graph_tensors(model.graph)
    for function in model.functions:
        yield from _node_tensors(function.node)


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for graph in (attribute.g, *attribute.graphs):
                yield from _graph_tensors(graph)


def _check_location(name: str, location: str, folder: Path) -> None:
    """A file must not make its reader open anything outside of its own folder."""
    posix, windows = PurePosixPath(location), PureWindowsPath(location)
    outside = posix.is_absolute() or windows.is_absolute() or windows.drive or ".." in (*posix.parts, *windows.parts)
    outside = outside or not location or "\0" in location
    if outside or not (folder / location).resolve().is_relative_to(folder.resolve()):
        raise InterpreterError(f"tensor {name} keeps its data in {location!r}, outside the model's folder")

"""Reads an ONNX file into a plain graph, and refuses what the interpreter cannot run."""

import math
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import external_data_helper, helper, numpy_helper

from kernels_ref.errors import InterpreterError
from kernels_ref.ops.types import Array
from kernels_ref.opsets import Keep, in_todays_form

_PROTOBUF_LIMIT = 2**31
_SMALL = 64
_FOUR_BITS = (onnx.TensorProto.INT4, onnx.TensorProto.UINT4, onnx.TensorProto.FLOAT4E2M1)


Shape = tuple[int | str | None, ...]


@dataclass(frozen=True)
class TensorSpec:
    """Type and shape of a graph input; None stands for a size that is not fixed."""

    dtype: np.dtype[Any]
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True)
class Node:
    """One ONNX node. `label` names it in errors; omitted inputs and outputs are ''."""

    op: str
    label: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]


@dataclass(frozen=True)
class Graph:
    """An ONNX graph in plain Python: every name is made once, before it is read.

    `infer_shapes` works out the shapes that are known before the graph runs; it is asked once, if at all.
    """

    inputs: dict[str, TensorSpec]
    outputs: tuple[str, ...]
    initializers: dict[str, Array]
    nodes: tuple[Node, ...]
    infer_shapes: Callable[[], dict[str, Shape]] = dict

    def shape(self, name: str) -> Shape | None:
        """The sizes of a tensor: a name where a size is free but named, None where it is not known; None of no rank."""
        if name in self.initializers:
            return self.initializers[name].shape
        return self.infer_shapes().get(name)


def read_graph(source: str | Path | onnx.ModelProto, ops: Collection[str], contrib: Collection[str] = ()) -> Graph:
    """Read and check a model.

    Args:
        source: the file, or the model in memory.
        ops: names of the ops that exist.
        contrib: those of the domain `com.microsoft`.

    Raises:
        InterpreterError: the file is not an ONNX model, its opset is too old, its graph is cyclic or unsorted, it
            holds an op that does not exist or data outside its folder.
    """
    model = source if isinstance(source, onnx.ModelProto) else read_model(Path(source))
    if not model.graph.output:
        raise InterpreterError("the model has no graph output; it is not ONNX, or cut short")
    if model.graph.sparse_initializer or model.functions:
        what = "functions" if model.functions else "sparse initializers"
        raise InterpreterError(f"{what} are not supported")
    for node in model.graph.node:
        known = contrib if node.domain == "com.microsoft" else ops if node.domain in ("", "ai.onnx") else ()
        if node.op_type not in known:
            name = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
            raise InterpreterError(f"{_label(node)}: unknown op {name}; known are {', '.join(sorted(ops))}")
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    initializers = {tensor.name: _array(tensor) for tensor in model.graph.initializer}
    inputs = {entry.name: _spec(entry) for entry in model.graph.input if entry.name not in initializers}
    nodes = [_node(node, opset, initializers.__setitem__) for node in model.graph.node]
    graph = Graph(
        inputs=inputs,
        outputs=tuple(entry.name for entry in model.graph.output),
        initializers=initializers,
        nodes=tuple(nodes),
        infer_shapes=cache(partial(_inferred_shapes, _outline(model))),
    )
    _check_order(graph)
    return graph


def _outline(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without its large tensors, of which only type and shape are kept."""
    outline = onnx.ModelProto()
    outline.ir_version = model.ir_version
    outline.opset_import.extend(model.opset_import)
    graph = outline.graph
    graph.name = "outline"
    graph.node.extend(node for node in model.graph.node if node.op_type != "Constant")
    graph.input.extend(model.graph.input)
    graph.output.extend(model.graph.output)
    graph.value_info.extend(model.graph.value_info)
    for tensor in (*model.graph.initializer, *_constant_tensors(model.graph)):
        if math.prod(tensor.dims) <= _SMALL:
            graph.initializer.append(tensor)
        else:
            graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return outline


def _constant_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """What Constant nodes hold as tensors, under the names of their outputs."""
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                tensor = onnx.TensorProto()
                tensor.CopyFrom(attribute.t)
                tensor.name = node.output[0]
                yield tensor


def _inferred_shapes(model: onnx.ModelProto) -> dict[str, Shape]:
    """Shapes by the name of the tensor."""
    try:
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, ValueError, RuntimeError):
        return {}
    entries = [*graph.input, *graph.value_info, *graph.output]
    return {
        entry.name: tuple(
            dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None
            for dim in entry.type.tensor_type.shape.dim
        )
        for entry in entries
        if entry.type.tensor_type.HasField("shape")
    }


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


def _check_dims(tensor: onnx.TensorProto) -> None:
    if min(tensor.dims, default=0) < 0:
        raise ValueError(f"the shape {list(tensor.dims)} has negative sizes")


def _byte_size(tensor: onnx.TensorProto) -> int:
    """Bytes of a tensor's elements; two of 4 bits share one."""
    _check_dims(tensor)
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


def _array(tensor: onnx.TensorProto) -> Array:
    if external_data_helper.uses_external_data(tensor):
        raise InterpreterError(f"tensor {tensor.name} keeps its data in another file; give the model's path")
    try:
        _check_dims(tensor)  # NumPy would work a size of -1 out
        return np.asarray(numpy_helper.to_array(tensor))
    except (ValueError, TypeError, KeyError, NotImplementedError) as error:
        raise InterpreterError(f"tensor {tensor.name} cannot be read: {' '.join(str(error).split())}") from error


def _spec(entry: onnx.ValueInfoProto) -> TensorSpec:
    tensor = entry.type.tensor_type
    try:
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    except (KeyError, ValueError, TypeError) as error:
        raise InterpreterError(f"graph input {entry.name} is not a tensor of a known type") from error
    if not tensor.HasField("shape"):
        return TensorSpec(dtype, None)
    return TensorSpec(dtype, tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim))


def _label(node: onnx.NodeProto) -> str:
    return f"{node.op_type} node {node.name or _first(node)}"


def _first(node: onnx.NodeProto) -> str:
    return next(filter(None, node.output), "")


def _node(node: onnx.NodeProto, opset: int, keep: Keep) -> Node:
    attributes = {attribute.name: _attribute(attribute, _label(node)) for attribute in node.attribute}
    try:
        inputs, attributes = in_todays_form(
            node.op_type, list(node.input), attributes, opset=opset, output=_first(node), keep=keep
        )
    except InterpreterError as error:
        raise InterpreterError(f"{_label(node)}: {error}") from error
    attributes["n_outputs"] = len(node.output)
    return Node(node.op_type, _label(node), tuple(inputs), tuple(node.output), attributes)


def _attribute(attribute: onnx.AttributeProto, label: str) -> Any:
    try:
        value = helper.get_attribute_value(attribute)
    except ValueError as error:
        raise InterpreterError(f"{label}: attribute {attribute.name} cannot be read") from error
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, onnx.TensorProto):
        return _array(value)
    if isinstance(value, (int, float)):
        return value
    if attribute.type in (onnx.AttributeProto.INTS, onnx.AttributeProto.FLOATS):
        return list(value)
    if attribute.type == onnx.AttributeProto.STRINGS:
        return [text.decode(errors="replace") for text in value]
    raise InterpreterError(f"{label}: attribute {attribute.name} has a type that is not supported")


def _check_order(graph: Graph) -> None:
    made = {*graph.inputs, *graph.initializers}
    every = made.union(*(node.outputs for node in graph.nodes))
    for node in graph.nodes:
        for name in filter(None, node.inputs):
            if name not in every:
                raise InterpreterError(f"{node.label} reads {name}, which nothing makes")
            if name not in made:
                raise InterpreterError(f"{node.label} reads {name} before it is made: the graph is cyclic or unsorted")
        for name in filter(None, node.outputs):
            if name in made:
                raise InterpreterError(f"{node.label} makes {name} a second time")
            made.add(name)
    for name in graph.outputs:
        if name not in made:
            raise InterpreterError(f"nothing makes the graph output {name}")

"""An ONNX model as a plain graph; what the interpreter cannot run is refused."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import external_data_helper, helper, numpy_helper

from kernels_ref.errors import InterpreterError
from kernels_ref.onnx_file import check_dims, read_model
from kernels_ref.ops.types import Array
from kernels_ref.opsets import Keep, in_todays_form
from kernels_ref.shapes import Shape, inferred_shapes, outline_of


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
        infer_shapes=cache(partial(inferred_shapes, outline_of(model))),
    )
    _check_order(graph)
    return graph


def _array(tensor: onnx.TensorProto) -> Array:
    if external_data_helper.uses_external_data(tensor):
        raise InterpreterError(f"tensor {tensor.name} keeps its data in another file; give the model's path")
    try:
        check_dims(tensor)
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

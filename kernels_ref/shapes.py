"""The shapes of a model's tensors that are known before it runs."""

import math
from collections.abc import Iterator

import onnx
from onnx import helper

Shape = tuple[int | str | None, ...]
"""Sizes: a name where one is free but named, None where it is not known."""

_SMALL = 64
"""Elements of a tensor whose values may be a shape that another is worked out from."""


def outline_of(model: onnx.ModelProto) -> onnx.ModelProto:
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


def inferred_shapes(model: onnx.ModelProto) -> dict[str, Shape]:
    """Shapes by the name of the tensor; none where onnx cannot work them out.

    Args:
        model: it may be an outline.
    """
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

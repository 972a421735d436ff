"""What ONNX means where a node says nothing: values of attributes and inputs that are left out.

The defaults of attributes are those of the installed onnx package's schemas. What the schemas say in words only
(strides are 1, an absent zero point is 0) stands in the two tables below.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, defs, helper

from mptq_export.targets.file.view import FileView

Array = NDArray[Any]

#: Attributes that say nothing where they are absent: another attribute or an input says it.
_SAID_OTHERWISE = {
    "Split": {"num_outputs"},
    "Constant": {f"value_{kind}" for kind in ("strings", "string", "floats", "float", "ints", "int")}
    | {"sparse_value", "value"},
}


def schema_of(node: onnx.NodeProto, view: FileView) -> defs.OpSchema | None:
    """What the onnx package knows of an op at the file's version; None of other domains and unknown ops."""
    if node.domain not in ("", "ai.onnx") or not defs.has(node.op_type, view.opset):
        return None
    return defs.get_schema(node.op_type, view.opset)


def unwritten_attributes(node: onnx.NodeProto, view: FileView) -> Iterator[str]:
    """Names of the attributes that a node leaves out, though they mean something."""
    schema = schema_of(node, view)
    written = {attribute.name for attribute in node.attribute} | _SAID_OTHERWISE.get(node.op_type, set())
    yield from (name for name in sorted(schema.attributes if schema is not None else ()) if name not in written)


def implied_attribute(node: onnx.NodeProto, name: str, view: FileView) -> Any:
    """What an attribute is where it is left out; None where this package does not know."""
    schema = schema_of(node, view)
    if schema is None:
        return None
    default = schema.attributes[name].default_value
    if default.type != AttributeProto.UNDEFINED:
        return helper.get_attribute_value(default)
    implied = _ATTRIBUTES.get((node.op_type, name))
    return None if implied is None else implied(node, view)


def absent_inputs(node: onnx.NodeProto, view: FileView) -> Iterator[tuple[int, str]]:
    """Optional inputs that a node leaves out, by place and name."""
    schema = schema_of(node, view)
    for place, entry in enumerate(schema.inputs if schema is not None else ()):
        absent = place >= len(node.input) or not node.input[place]
        if absent and entry.option == defs.OpSchema.FormalParameterOption.Optional:
            yield place, entry.name


def implied_input(node: onnx.NodeProto, name: str, view: FileView) -> Array | None:
    """What an optional input is where it is left out; None where this package does not know."""
    implied = _INPUTS.get((node.op_type, name))
    return None if implied is None else implied(node, view)


def _rank(node: onnx.NodeProto, view: FileView) -> int:
    return len(view.shapes[node.input[0]])


def _kernel(node: onnx.NodeProto, view: FileView) -> list[int]:
    return view.shapes[node.input[1]][2:]


def _ones(node: onnx.NodeProto, view: FileView) -> list[int]:
    return [1] * (_rank(node, view) - 2)


def _no_pads(node: onnx.NodeProto, view: FileView) -> list[int]:
    return [0] * 2 * (_rank(node, view) - 2)


def _reversed_axes(node: onnx.NodeProto, view: FileView) -> list[int]:
    return list(reversed(range(_rank(node, view))))


_ATTRIBUTES: dict[tuple[str, str], Callable[[onnx.NodeProto, FileView], Any]] = {
    ("Conv", "kernel_shape"): _kernel,
    ("Conv", "strides"): _ones,
    ("Conv", "dilations"): _ones,
    ("Conv", "pads"): _no_pads,
    ("MaxPool", "strides"): _ones,
    ("MaxPool", "dilations"): _ones,
    ("MaxPool", "pads"): _no_pads,
    ("Transpose", "perm"): _reversed_axes,
}


def _zero(node: onnx.NodeProto, view: FileView) -> Array:
    return np.zeros((), view.dtype(node.input[0]))


def _zero_points(node: onnx.NodeProto, view: FileView) -> Array:
    kind = view.dtype(node.input[0]) if node.op_type == "DequantizeLinear" else view.dtype(node.output[0])
    return np.zeros(view.shapes[node.input[1]], kind)


def _end(node: onnx.NodeProto, view: FileView, *, highest: bool) -> Array:
    kind = view.dtype(node.input[0])
    limits: Any = np.finfo(kind) if kind.kind == "f" else np.iinfo(kind)
    return np.array(limits.max if highest else limits.min, kind)


def _all_axes(node: onnx.NodeProto, view: FileView) -> Array:
    return np.arange(_rank(node, view), dtype=np.int64)


def _slice_axes(node: onnx.NodeProto, view: FileView) -> Array:
    return np.arange(view.shapes[node.input[1]][0], dtype=np.int64)


def _slice_steps(node: onnx.NodeProto, view: FileView) -> Array:
    return np.ones(view.shapes[node.input[1]], np.int64)


def _size_one_axes(node: onnx.NodeProto, view: FileView) -> Array:
    return np.array([axis for axis, size in enumerate(view.shapes[node.input[0]]) if size == 1], np.int64)


def _pieces(node: onnx.NodeProto, view: FileView) -> Array:
    axis = int(str(view.attribute(node, "axis", 0)))
    return np.array([view.shapes[name][axis] for name in node.output], np.int64)


def _conv_bias(node: onnx.NodeProto, view: FileView) -> Array:
    return np.zeros(view.shapes[node.input[1]][0], view.dtype(node.input[0]))


def _gemm_bias(node: onnx.NodeProto, view: FileView) -> Array:
    return np.zeros(view.shapes[node.output[0]], view.dtype(node.input[0]))


_INPUTS: dict[tuple[str, str], Callable[[onnx.NodeProto, FileView], Array]] = {
    ("Pad", "constant_value"): _zero,
    ("Pad", "axes"): _all_axes,
    ("Slice", "axes"): _slice_axes,
    ("Slice", "steps"): _slice_steps,
    ("Clip", "min"): lambda node, view: _end(node, view, highest=False),
    ("Clip", "max"): lambda node, view: _end(node, view, highest=True),
    ("QuantizeLinear", "y_zero_point"): _zero_points,
    ("DequantizeLinear", "x_zero_point"): _zero_points,
    ("Squeeze", "axes"): _size_one_axes,
    ("Split", "split"): _pieces,
    ("Conv", "B"): _conv_bias,
    ("Gemm", "C"): _gemm_bias,
    **{
        (op, "axes"): _all_axes
        for op in ("ReduceMax", "ReduceMin", "ReduceSum", "ReduceMean", "ReduceProd", "ReduceL2", "ReduceSumSquare")
    },
}

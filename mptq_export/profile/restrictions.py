"""Rules about single operators: what their specifications restrict."""

from collections.abc import Iterator

import numpy as np
import onnx

from mptq_export.profile.rule import Finding, at
from mptq_export.profile.view import ProfileView

_FLOAT, _UINT8, _INT32 = onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8, onnx.TensorProto.INT32
_NEUTRAL = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}
_BESIDE_SCALE = {"axis": 1, "block_size": 0, "output_dtype": 0, "precision": 0, "saturate": 1}


def reshape(view: ProfileView) -> Iterator[Finding]:
    """A target shape in numbers."""
    for node in view.of_type("Reshape"):
        target = view.values(node.input[1])
        if target is None:
            yield at(node, "its target shape is computed")
        elif (np.asarray(target) < 1).any():
            yield at(node, f"its target shape {np.asarray(target).tolist()} leaves sizes to be found out")


def concat(view: ProfileView) -> Iterator[Finding]:
    """An axis from the front."""
    for node in view.of_type("Concat"):
        if int(str(view.attribute(node, "axis", 0))) < 0:
            yield at(node, f"its axis {view.attribute(node, 'axis', 0)} counts from the back")


def slices(view: ProfileView) -> Iterator[Finding]:
    """A start, an end and a step within its size for every axis."""
    for node in view.of_type("Slice"):
        sizes = view.sizes(node.input[0])
        given = [view.values(name) for name in node.input[1:] if name]
        if len(given) < 4 or any(each is None for each in given):
            yield at(node, "starts, ends, axes or steps are left out or computed")
            continue
        starts, ends, axes, steps = (np.asarray(each).tolist() for each in given)
        if sizes is None:
            continue
        if sorted(axis % len(sizes) for axis in axes) != list(range(len(sizes))):
            yield at(node, f"its axes {axes} are not all of {len(sizes)}")
        elif any(
            not (-sizes[axis] <= start < sizes[axis] and abs(end) <= sizes[axis] + (step < 0) and step)
            for start, end, axis, step in zip(starts, ends, axes, steps, strict=True)
        ):
            yield at(node, f"{starts} to {ends} leaves the shape {sizes}")


def clip(view: ProfileView) -> Iterator[Finding]:
    """Scalar bounds."""
    for node in view.of_type("Clip"):
        for name in (name for name in node.input[1:] if name):
            if view.shapes.get(name):
                yield at(node, f"its bound {name} is no scalar")


def conv(view: ProfileView) -> Iterator[Finding]:
    """Two spatial axes, pads in numbers, one group or one for each channel."""
    for node in view.of_type("Conv"):
        sizes, group = view.shapes.get(node.input[0]), int(str(view.attribute(node, "group", 1)))
        if sizes is None:
            continue
        if len(sizes) != 4:
            yield at(node, f"its input has {len(sizes) - 2} spatial axes, not 2")
        elif view.attribute(node, "auto_pad", b"NOTSET") != b"NOTSET":
            yield at(node, "its pads are left to auto_pad")
        elif group not in (1, sizes[1]):
            yield at(node, f"{group} groups of {sizes[1]} channels")


def gemm(view: ProfileView) -> Iterator[Finding]:
    """A plain product of two matrices and a bias in the shape of the result."""
    for node in view.of_type("Gemm"):
        set_otherwise = [name for name, value in _NEUTRAL.items() if view.attribute(node, name, value) != value]
        bias = view.shapes.get(node.input[2]) if len(node.input) > 2 else None
        if set_otherwise:
            yield at(node, f"{', '.join(set_otherwise)} changes its operands")
        elif bias is not None and bias != view.shapes.get(node.output[0]):
            yield at(node, f"its bias of shape {bias} is broadcast to {view.shapes.get(node.output[0])}")


def matmul(view: ProfileView) -> Iterator[Finding]:
    """Two matrices."""
    for node in view.of_type("MatMul"):
        ranks = [len(view.shapes.get(name, [])) for name in node.input]
        if ranks != [2, 2]:
            yield at(node, f"operands have {ranks[0]} and {ranks[1]} axes, not 2")


def quantize(view: ProfileView) -> Iterator[Finding]:
    """Floats to uint8, by one scale and one zero point."""
    for node in view.of_type("QuantizeLinear"):
        yield from _scales(view, node)
        kinds = view.kinds.get(node.input[0]), view.kinds.get(node.output[0])
        if kinds != (_FLOAT, _UINT8):
            yield at(node, f"from {_kind(kinds[0])} to {_kind(kinds[1])}; float to uint8 is specified")


def dequantize_type(view: ProfileView) -> Iterator[Finding]:
    """int32 to floats."""
    for node in view.of_type("DequantizeLinear"):
        kinds = view.kinds.get(node.input[0]), view.kinds.get(node.output[0])
        if kinds != (_INT32, _FLOAT):
            yield at(node, f"from {_kind(kinds[0])} to {_kind(kinds[1])}; int32 to float is specified")


def dequantize_scale(view: ProfileView) -> Iterator[Finding]:
    """By one scale and one zero point."""
    for node in view.of_type("DequantizeLinear"):
        yield from _scales(view, node)


def _scales(view: ProfileView, node: onnx.NodeProto) -> Iterator[Finding]:
    other = [name for name, value in _BESIDE_SCALE.items() if view.attribute(node, name, value) != value]
    if view.shapes.get(node.input[1]):
        yield at(node, f"a scale for each of {view.shapes[node.input[1]]}, not one")
    elif other:
        yield at(node, f"{', '.join(other)} is not at its default")


def _kind(number: int | None) -> str:
    return str(onnx.TensorProto.DataType.Name(number or 0)).lower()

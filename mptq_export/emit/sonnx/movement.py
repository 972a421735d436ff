"""Data movement: target shapes in numbers, all axes of a slice, axes counted from the front."""

from collections.abc import Callable

import numpy as np
import onnx
from onnx import helper

from mptq_export.emit.sonnx.spelling import Spelling

#: Ops whose attribute `axis` may count from the back.
_AXIS = ("Concat", "Split", "Gather", "ScatterElements", "Softmax", "DequantizeLinear", "QuantizeLinear")

#: Ops whose second input is axes.
_AXES = ("ReduceMax", "ReduceMin", "ReduceSum", "ReduceMean", "Squeeze", "Unsqueeze")


def reshape(node: onnx.NodeProto, spelling: Spelling) -> None:
    """No size that is to be found out: -1, or 0 for that of the input."""
    node.input[1] = spelling.integers(spelling.shape(node.output[0]))


def slices(node: onnx.NodeProto, spelling: Spelling) -> None:
    """A start, an end and a step for every axis, within its size."""
    given = [spelling.onnx.initializers.get(name) for name in node.input[1:]]
    if any(tensor is None for tensor in given):
        return  # computed: the checker names it
    numbers = [onnx.numpy_helper.to_array(tensor) for tensor in given if tensor is not None]
    sizes = spelling.shape(node.input[0])
    bounds = {int(axis) % len(sizes): (int(a), int(b), int(k)) for a, b, axis, k in zip(*numbers, strict=True)}
    whole = [slice(*bounds.get(axis, (0, size, 1))).indices(size) for axis, size in enumerate(sizes)]
    if any(step < 0 for _, _, step in whole):
        return  # an end of -1 would count from the back
    columns = ([bound[place] for bound in whole] for place in (0, 1))
    order = [list(range(len(sizes))), [step for _, _, step in whole]]
    for place, written in enumerate([*columns, *order], 1):
        node.input[place] = spelling.integers(written)


def pieces(node: onnx.NodeProto, spelling: Spelling) -> bool:
    """A Split of which not all pieces are read as a Slice for each that is; gives whether it was written so."""
    view = spelling.view
    read = [name for name in node.output if name in view.readers or name in view.outputs]
    if len(read) == len(node.output):
        return False
    sizes = spelling.shape(node.input[0])
    axis, start = int(str(view.attribute(node, "axis", 0))) % len(sizes), 0
    for name in node.output:
        end = start + spelling.shape(name)[axis]
        if name in read:
            starts, ends = [0] * len(sizes), list(sizes)
            starts[axis], ends[axis] = start, end
            numbers = (starts, ends, list(range(len(sizes))), [1] * len(sizes))
            inputs = [node.input[0], *(spelling.integers(each) for each in numbers)]
            spelling.put(helper.make_node("Slice", inputs, [name], name=name))
        start = end
    return True


def axis_from_front(node: onnx.NodeProto, spelling: Spelling) -> None:
    """An attribute `axis` below 0 as the axis that it means."""
    for attribute in node.attribute:
        if attribute.name == "axis" and attribute.i < 0:
            attribute.i += len(spelling.shape(node.output[0] if node.op_type == "Concat" else node.input[0]))


def axes_from_front(node: onnx.NodeProto, spelling: Spelling) -> None:
    """Axes below 0 in an input as the axes that they mean."""
    axes = spelling.stored(node.input[1]) if len(node.input) > 1 else None
    if axes is not None:
        rank = len(spelling.shape(node.output[0] if node.op_type == "Unsqueeze" else node.input[0]))
        node.input[1] = spelling.integers(np.asarray(axes, np.int64).reshape(-1) % rank)


MOVES: dict[str, Callable[[onnx.NodeProto, Spelling], None]] = {
    "Reshape": reshape,
    "Slice": slices,
    **dict.fromkeys(_AXIS, axis_from_front),
    **dict.fromkeys(_AXES, axes_from_front),
}

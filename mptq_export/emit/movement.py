"""Data movement on a value of any kind: Split, Slice, Pad, Reshape, Transpose, Concat."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from mptq_export.capture.graph import Node
from mptq_export.capture.ops import Op, Permute, Reshape, Roll, Slice, Windows
from mptq_export.emit.emission import Emission
from mptq_export.emit.value import AnyValue


@dataclass(frozen=True)
class _Move:
    """One movement.

    Attributes:
        before: the node whose value is moved.
        node: the movement.
        name: of the moved tensor.
        margin: what stands around windows for the value 0, of the dtype of the tensor.
    """

    before: Node
    node: Node
    name: str
    margin: np.ndarray


def move(emission: Emission, value: AnyValue, root: Node, chain: list[Node], zero: int = 0) -> AnyValue:
    """Move a value through a chain of movement nodes.

    Args:
        emission: the emission.
        value: of `root`.
        root: the node whose value is moved.
        chain: movement nodes in order.
        zero: what stands for the value 0 around windows: a code, or 0 for floats.

    Returns:
        The value of the last node of the chain.
    """
    margin = np.array(zero, value.dtype)
    for before, node in zip([root, *chain], chain, strict=False):
        step = _Move(before, node, f"{node.name}.{value.suffix}", margin)
        if isinstance(node.op, Reshape):
            value = _reshape(emission, value, step)
            continue
        if not isinstance(node.op, Slice) or node.op.axis != len(node.shape.dims) - 1:  # rows can be cut
            value = emission.unflatten(value, before.name)
        value = emission.moved(value, partial(_moved, emission, step))
    return value


def _moved(emission: Emission, step: _Move, tensor: str) -> str:
    return _MOVES[type(step.node.op)](emission, tensor, step)


def _reshape(emission: Emission, value: AnyValue, step: _Move) -> AnyValue:
    if value.flat and step.before.shape.dims[-1] == step.node.shape.dims[-1]:
        return value  # rows stay rows
    return replace(emission.reshape(value, emission.sizes(step.node.shape), step.name), flat=False)


def _permute(emission: Emission, tensor: str, step: _Move) -> str:
    return emission.onnx.one("Transpose", [tensor], step.name, perm=list(step.node.attributes(Permute).perm))


def _slice(emission: Emission, tensor: str, step: _Move) -> str:
    """One piece of a Split where the sibling slices tile the axis, else a Slice."""
    onnx, before, piece = emission.onnx, step.before, step.node.attributes(Slice)
    axis = piece.axis - len(before.shape.dims)
    pieces = sorted(
        {
            (n.op.start, n.op.end)
            for n in emission.readers[before.name]
            if isinstance(n.op, Slice) and n.op.axis == piece.axis
        }
    )
    edges = [0, *(end for _, end in pieces)]
    if len(pieces) > 1 and [start for start, _ in pieces] == edges[:-1] and edges[-1] == before.shape.dims[piece.axis]:
        sizes = onnx.shape([high - low for low, high in pieces])
        split = onnx.op("Split", [tensor, sizes], f"{before.name}.split", outputs=len(pieces), axis=axis)
        return split[pieces.index((piece.start, piece.end))]
    limits = [onnx.shape([v]) for v in (piece.start, piece.end, axis)]
    return onnx.one("Slice", [tensor, *limits], step.name)


def _roll(emission: Emission, tensor: str, step: _Move) -> str:
    """Cyclic shifts: the last `shift` rows come first."""
    onnx, roll, name = emission.onnx, step.node.attributes(Roll), step.name
    for by, axis in zip(roll.shifts, roll.axes, strict=True):
        size = step.node.shape.dims[axis]
        shift = by % size
        if shift == 0:
            continue
        first, last = emission.cut(tensor, [size - shift, shift], axis, f"{name}.cut{axis}")
        tensor = onnx.one("Concat", [last, first], f"{name}.roll{axis}", axis=axis)
    return tensor


def _windows(emission: Emission, tensor: str, step: _Move) -> str:
    """Columns of windows, then rows of those: kw + kh slices instead of kw * kh."""
    onnx, op, name = emission.onnx, step.node.attributes(Windows), step.name
    top, left, bottom, right = op.pads
    counts = onnx.shape([0, top, left, 0, 0, bottom, right, 0])
    if op.edge:
        tensor = onnx.one("Pad", [tensor, counts], f"{name}.padded", mode="edge")
    elif any(op.pads):
        tensor = onnx.one("Pad", [tensor, counts, onnx.constant(f"{name}.zero", step.margin)], f"{name}.padded")
    for axis in (2, 1):
        size, stride, count = op.kernel[axis - 1], op.stride[axis - 1], step.node.shape.dims[axis]
        padded = step.before.shape.dims[axis] + sum(op.pads[axis - 1 :: 2])
        if (size, stride, count) == (1, 1, padded):
            continue
        pieces: list[str] = []
        for first in range(0, op.reach[axis - 1], op.dilation[axis - 1]):
            bounds = [onnx.shape([v]) for v in (first, first + (count - 1) * stride + 1, axis, stride)]
            pieces.append(onnx.one("Slice", [tensor, *bounds], f"{name}.axis{axis}_{first}"))
        tensor = pieces[0] if size == 1 else onnx.one("Concat", pieces, f"{name}.axis{axis}", axis=-1)
    return tensor


#: All movement but Reshape, which alone may leave rows merged.
_MOVES: dict[type[Op], Callable[[Emission, str, _Move], str]] = {
    Permute: _permute,
    Slice: _slice,
    Roll: _roll,
    Windows: _windows,
}

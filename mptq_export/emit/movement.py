"""Data movement on a value of any kind: Split, Slice, Pad, Reshape, Transpose, Concat."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from mptq_export.capture.graph import Node
from mptq_export.emit.value import AnyValue
from mptq_export.emit.walker import Walker


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


def move(walker: Walker, value: AnyValue, root: Node, chain: list[Node], zero: int = 0) -> AnyValue:
    """Move a value through a chain of movement nodes.

    Args:
        walker: the emission.
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
        if node.op == "reshape":
            value = _reshape(walker, value, step)
            continue
        if node.op != "slice" or node.attrs["axis"] != len(node.shape.dims) - 1:  # rows keep their last axis
            value = walker.unflatten(value, before.name)
        value = replace(value, tensor=_MOVES[node.op](walker, value.tensor, step))
    return value


def _reshape(walker: Walker, value: AnyValue, step: _Move) -> AnyValue:
    if value.flat and step.before.shape.dims[-1] == step.node.shape.dims[-1]:
        return value  # rows stay rows
    tensor = walker.onnx.reshape(value.tensor, step.node.shape.dynamic(), step.name)
    return replace(value, tensor=tensor, flat=False)


def _permute(walker: Walker, tensor: str, step: _Move) -> str:
    return walker.onnx.one("Transpose", [tensor], step.name, perm=list(step.node.attrs["perm"]))


def _slice(walker: Walker, tensor: str, step: _Move) -> str:
    """One piece of a Split where the sibling slices tile the axis, else a Slice."""
    onnx, before, node = walker.onnx, step.before, step.node
    axis, start, end = (node.attrs[key] for key in ("axis", "start", "end"))
    onnx_axis = axis - len(node.shape.dims)
    pieces = sorted(
        {
            (n.attrs["start"], n.attrs["end"])
            for n in walker.readers[before.name]
            if n.op == "slice" and n.attrs["axis"] == axis
        }
    )
    edges = [0, *(piece[1] for piece in pieces)]
    if len(pieces) > 1 and [piece[0] for piece in pieces] == edges[:-1] and edges[-1] == before.shape.dims[axis]:
        sizes = onnx.shape([high - low for low, high in pieces])
        split = onnx.op("Split", [tensor, sizes], f"{before.name}.split", outputs=len(pieces), axis=onnx_axis)
        return split[pieces.index((start, end))]
    limits = [onnx.shape([v]) for v in (start, end, onnx_axis)]
    return onnx.one("Slice", [tensor, *limits], step.name)


def _roll(walker: Walker, tensor: str, step: _Move) -> str:
    """Cyclic shifts: the last `shift` rows come first."""
    onnx, node, name = walker.onnx, step.node, step.name
    for by, axis in zip(node.attrs["shifts"], node.attrs["axes"], strict=True):
        size = node.shape.dims[axis]
        shift = by % size
        if shift == 0:
            continue
        sizes = onnx.shape([size - shift, shift])
        first, last = onnx.op("Split", [tensor, sizes], f"{name}.cut{axis}", outputs=2, axis=axis)
        tensor = onnx.one("Concat", [last, first], f"{name}.roll{axis}", axis=axis)
    return tensor


def _windows(walker: Walker, tensor: str, step: _Move) -> str:
    """Columns of windows, then rows of those: kw + kh slices instead of kw * kh."""
    onnx, before, node, name = walker.onnx, step.before, step.node, step.name
    top, left, bottom, right = node.attrs["pads"]
    counts = onnx.shape([0, top, left, 0, 0, bottom, right, 0])
    if node.attrs.get("edge"):
        tensor = onnx.one("Pad", [tensor, counts], f"{name}.padded", mode="edge")
    elif any(node.attrs["pads"]):
        tensor = onnx.one("Pad", [tensor, counts, onnx.constant(f"{name}.zero", step.margin)], f"{name}.padded")
    for axis in (2, 1):
        size, stride, count = node.attrs["kernel"][axis - 1], node.attrs["stride"][axis - 1], node.shape.dims[axis]
        padded = before.shape.dims[axis] + sum(node.attrs["pads"][axis - 1 :: 2])
        if (size, stride, count) == (1, 1, padded):
            continue
        pieces: list[str] = []
        for first in range(size):
            bounds = [onnx.shape([v]) for v in (first, first + (count - 1) * stride + 1, axis, stride)]
            pieces.append(onnx.one("Slice", [tensor, *bounds], f"{name}.axis{axis}_{first}"))
        tensor = pieces[0] if size == 1 else onnx.one("Concat", pieces, f"{name}.axis{axis}", axis=-1)
    return tensor


#: All movement but Reshape, which alone may leave rows merged.
_MOVES: dict[str, Callable[[Walker, str, _Move], str]] = {
    "permute": _permute,
    "slice": _slice,
    "roll": _roll,
    "windows": _windows,
}

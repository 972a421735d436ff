"""Data movement on whatever form a value has: Split, Slice, Pad, Reshape, Transpose, Concat."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mptq_export.capture.graph import Node
from mptq_export.capture.ops import Permute, Reshape, Roll, Slice, Windows
from mptq_export.emit.builder import OnnxBuilder
from mptq_export.emit.exact.forms import Codes, Form

if TYPE_CHECKING:
    from mptq_export.emit.exact.emitter import Emitter


def apply(emitter: "Emitter", form: Form, root: Node, chain: list[Node], zero: int = 0) -> Form:
    """Move a form through a chain of movement nodes.

    Args:
        emitter: the emission.
        form: the value of `root`.
        root: the node whose value is moved.
        chain: movement nodes in order.
        zero: what stands for the value 0 around windows: a code, or 0 for floats.

    Returns:
        The form of the last node of the chain.
    """
    before = root
    for node in chain:
        form = _step(emitter, form, before, node, zero)
        before = node
    return form


def _step(emitter: "Emitter", form: Form, before: Node, node: Node, zero: int) -> Form:
    onnx = emitter.onnx
    name = f"{node.name}.{'u8' if isinstance(form, Codes) else 'f32'}"
    if isinstance(node.op, Slice):
        last = node.op.axis == len(node.shape.dims) - 1
        if not last:
            form = emitter.full(form, before.name)
        return replace(form, tensor=_slice(emitter, form.tensor, before, node.op, name))
    if isinstance(node.op, Reshape):
        if form.flat and before.shape.dims[-1] == node.shape.dims[-1]:
            return form  # rows stay rows
        return replace(form, tensor=onnx.reshape(form.tensor, node.shape.dynamic(), name), flat=False)
    form = emitter.full(form, before.name)
    if isinstance(node.op, Permute):
        return replace(form, tensor=onnx.one("Transpose", [form.tensor], name, perm=list(node.op.perm)))
    if isinstance(node.op, Windows):
        return replace(form, tensor=_windows(emitter, form, before, node, name, zero))
    roll = node.attributes(Roll)
    for shift, axis in zip(roll.shifts, roll.axes, strict=True):
        form = replace(form, tensor=_roll(emitter, form.tensor, shift % node.shape.dims[axis], axis, node, name))
    return form


def _slice(emitter: "Emitter", tensor: str, before: Node, piece: Slice, name: str) -> str:
    """One piece of a Split where the sibling slices tile the axis, else a Slice."""
    onnx = emitter.onnx
    onnx_axis = piece.axis - len(before.shape.dims)
    pieces = sorted(
        {
            (n.op.start, n.op.end)
            for n in emitter.readers[before.name]
            if isinstance(n.op, Slice) and n.op.axis == piece.axis
        }
    )
    edges = [0, *(end for _, end in pieces)]
    if len(pieces) > 1 and [start for start, _ in pieces] == edges[:-1] and edges[-1] == before.shape.dims[piece.axis]:
        sizes = onnx.shape([high - low for low, high in pieces])
        parts = onnx.op("Split", [tensor, sizes], f"{before.name}.split", outputs=len(pieces), axis=onnx_axis)
        return parts[pieces.index((piece.start, piece.end))]
    limits = [onnx.shape([v]) for v in (piece.start, piece.end, onnx_axis)]
    return onnx.one("Slice", [tensor, *limits], name)


def _roll(emitter: "Emitter", tensor: str, shift: int, axis: int, node: Node, name: str) -> str:
    """Cyclic shift: the last `shift` rows come first."""
    if shift == 0:
        return tensor
    onnx = emitter.onnx
    size = node.shape.dims[axis]
    parts = onnx.op("Split", [tensor, onnx.shape([size - shift, shift])], f"{name}.cut{axis}", outputs=2, axis=axis)
    return onnx.one("Concat", [parts[1], parts[0]], f"{name}.roll{axis}", axis=axis)


def _windows(emitter: "Emitter", form: Form, before: Node, node: Node, name: str, zero: int) -> str:
    """Columns of windows, then rows of those: kw + kh slices instead of kw * kh."""
    onnx: OnnxBuilder = emitter.onnx
    tensor: str = form.tensor
    op = node.attributes(Windows)
    top, left, bottom, right = op.pads
    counts = onnx.shape([0, top, left, 0, 0, bottom, right, 0])
    if op.edge:
        tensor = onnx.one("Pad", [tensor, counts], f"{name}.padded", mode="edge")
    elif any(op.pads):
        margin = onnx.constant(f"{name}.zero", np.array(zero, np.uint8 if isinstance(form, Codes) else np.float32))
        tensor = onnx.one("Pad", [tensor, counts, margin], f"{name}.padded")
    for axis in (2, 1):
        size, step, count = op.kernel[axis - 1], op.stride[axis - 1], node.shape.dims[axis]
        whole = before.shape.dims[axis] + sum(op.pads[axis - 1 :: 2])
        if (size, step, count) == (1, 1, whole):
            continue
        pieces: list[str] = []
        for first in range(size):
            bounds: list[str] = [onnx.shape([v]) for v in (first, first + (count - 1) * step + 1, axis, step)]
            pieces.append(onnx.one("Slice", [tensor, *bounds], f"{name}.axis{axis}_{first}"))
        tensor = pieces[0] if size == 1 else onnx.one("Concat", pieces, f"{name}.axis{axis}", axis=-1)
    return tensor

"""Data movement on whatever form a value has: Split, Slice, Pad, Reshape, Transpose, Concat."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mptq_export.capture.graph import Node
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
    if node.op == "slice":
        last = node.attrs["axis"] == len(node.shape.dims) - 1
        if not last:
            form = emitter.full(form, before.name)
        return replace(form, tensor=_slice(emitter, form.tensor, before, node, name))
    if node.op == "reshape":
        if form.flat and before.shape.dims[-1] == node.shape.dims[-1]:
            return form  # rows stay rows
        return replace(form, tensor=onnx.reshape(form.tensor, node.shape.dynamic(), name), flat=False)
    form = emitter.full(form, before.name)
    if node.op == "permute":
        return replace(form, tensor=onnx.one("Transpose", [form.tensor], name, perm=list(node.attrs["perm"])))
    if node.op == "windows":
        return replace(form, tensor=_windows(emitter, form, before, node, name, zero))
    for shift, axis in zip(node.attrs["shifts"], node.attrs["axes"], strict=True):
        form = replace(form, tensor=_roll(emitter, form.tensor, shift % node.shape.dims[axis], axis, node, name))
    return form


def _slice(emitter: "Emitter", tensor: str, before: Node, node: Node, name: str) -> str:
    """One piece of a Split where the sibling slices tile the axis, else a Slice."""
    onnx = emitter.onnx
    axis, start, end = (node.attrs[key] for key in ("axis", "start", "end"))
    onnx_axis = axis - len(node.shape.dims)
    pieces = sorted(
        {
            (n.attrs["start"], n.attrs["end"])
            for n in emitter.readers[before.name]
            if n.op == "slice" and n.attrs["axis"] == axis
        }
    )
    edges = [0, *(piece[1] for piece in pieces)]
    if len(pieces) > 1 and [piece[0] for piece in pieces] == edges[:-1] and edges[-1] == before.shape.dims[axis]:
        sizes = onnx.shape([high - low for low, high in pieces])
        parts = onnx.op("Split", [tensor, sizes], f"{before.name}.split", outputs=len(pieces), axis=onnx_axis)
        return parts[pieces.index((start, end))]
    limits = [onnx.shape([v]) for v in (start, end, onnx_axis)]
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
    top, left, bottom, right = node.attrs["pads"]
    counts = onnx.shape([0, top, left, 0, 0, bottom, right, 0])
    if node.attrs.get("edge"):
        tensor = onnx.one("Pad", [tensor, counts], f"{name}.padded", mode="edge")
    elif any(node.attrs["pads"]):
        margin = onnx.constant(f"{name}.zero", np.array(zero, np.uint8 if isinstance(form, Codes) else np.float32))
        tensor = onnx.one("Pad", [tensor, counts, margin], f"{name}.padded")
    for axis in (2, 1):
        size, step, count = node.attrs["kernel"][axis - 1], node.attrs["stride"][axis - 1], node.shape.dims[axis]
        whole = before.shape.dims[axis] + sum(node.attrs["pads"][axis - 1 :: 2])
        if (size, step, count) == (1, 1, whole):
            continue
        pieces: list[str] = []
        for first in range(size):
            bounds: list[str] = [onnx.shape([v]) for v in (first, first + (count - 1) * step + 1, axis, step)]
            pieces.append(onnx.one("Slice", [tensor, *bounds], f"{name}.axis{axis}_{first}"))
        tensor = pieces[0] if size == 1 else onnx.one("Concat", pieces, f"{name}.axis{axis}", axis=-1)
    return tensor

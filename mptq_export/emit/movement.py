"""Data movement on whatever form a value has: Split, Slice, Reshape, Transpose, Concat."""

from dataclasses import replace
from typing import TYPE_CHECKING

from mptq_export.capture.graph import Node
from mptq_export.emit.forms import Codes, Form

if TYPE_CHECKING:
    from mptq_export.emit.emitter import Emitter


def apply(emitter: "Emitter", form: Form, root: Node, chain: list[Node]) -> Form:
    """Move a form through a chain of movement nodes.

    Args:
        emitter: the emission.
        form: the value of `root`.
        root: the node whose value is moved.
        chain: movement nodes in order.

    Returns:
        The form of the last node of the chain.
    """
    before = root
    for node in chain:
        form = _step(emitter, form, before, node)
        before = node
    return form


def _step(emitter: "Emitter", form: Form, before: Node, node: Node) -> Form:
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

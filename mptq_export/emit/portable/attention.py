"""Products of two values, and softmax: one node each."""

from mptq_export.capture.graph import Node
from mptq_export.capture.ops import Matmul
from mptq_export.emit.portable.context import PortableContext
from mptq_export.emit.portable.values import Tensor


def emit_matmul(context: PortableContext, node: Node) -> Tensor:
    """MatMul; its factor is part of the graph (`transform/fold_alpha.py`)."""
    assert node.attributes(Matmul).alpha == 1, node.name
    a, b = context.read_full(node, 0), context.read_full(node, 1)
    return Tensor(tensor=context.onnx.one("MatMul", [a.tensor, b.tensor], node.name), flat=False, quant=None)


def emit_softmax(context: PortableContext, node: Node) -> Tensor:
    """Softmax over the last axis."""
    x = context.read(node)
    return Tensor(tensor=context.onnx.one("Softmax", [x.tensor], node.name, axis=-1), flat=x.flat, quant=None)

"""Values that no node computes: the image, raw pixels, and constants."""

import numpy as np

from mptq_export.capture.graph import NCHW, Node
from mptq_export.emit.portable.context import PortableContext
from mptq_export.emit.portable.values import Tensor


def emit_input(_context: PortableContext, _node: Node) -> Tensor:
    """The float32 input."""
    return Tensor(tensor="input", flat=False, quant=None)


def emit_pixels(context: PortableContext, node: Node) -> Tensor:
    """Raw uint8 NHWC pixels as NCHW floats, less what their offset says: the pixel that became 0 is the zero point."""
    onnx = context.onnx
    first = onnx.one("Transpose", ["input"], f"{node.name}.first", perm=list(NCHW))
    zero = onnx.scalar(context.form.middle_pixel, np.uint8)
    tensor = onnx.one("DequantizeLinear", [first, onnx.scalar(1.0), zero], node.name)
    quant = context.recipe.activations.get(f"{node.name}.output")
    if quant is None:
        return Tensor(tensor=tensor, flat=False, quant=None)
    if quant.low == 0:  # the input's own codes
        return Tensor(tensor=tensor, flat=False, quant=quant)
    return context.coded(Tensor(tensor=tensor, flat=False, quant=None), quant, f"{node.name}.output")


def emit_constant(context: PortableContext, node: Node) -> Tensor:
    """A constant, in codes where it has some."""
    quant = context.recipe.activations.get(f"{node.name}.output")
    return Tensor(tensor=context.constant(node.name, node.params["value"], quant), flat=False, quant=quant)

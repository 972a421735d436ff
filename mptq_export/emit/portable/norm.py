"""Layer norms: one node, with gain and offset as the target stores them."""

import numpy as np

from mptq_export.capture.graph import Node
from mptq_export.capture.ops import LayerNorm
from mptq_export.emit.portable.context import PortableContext
from mptq_export.emit.portable.elementwise import reduced
from mptq_export.emit.portable.values import Tensor
from mptq_export.quantize.portable.ranges import gain_and_offset, of_gain, of_parameter


def emit_layer_norm(context: PortableContext, node: Node) -> Tensor:
    """LayerNormalization over the last axis; an RMS norm in parts, which only forms without codes on it have."""
    op = node.attributes(LayerNorm)
    # OpenVINO fuses the quantizer behind it at rank 3, not of rows.
    x = context.read(node) if context.form.everywhere else context.read_full(node)
    if not x.flat and len(node.shape.dims) == 2:
        x = context.unflatten(x, node.inputs[0])
    if op.centered:
        return Tensor(tensor=_rms_parts(context, node, x.tensor), flat=x.flat, quant=None)
    inputs = [x.tensor, *_parameters(context, node, x)]
    tensor = context.onnx.one("LayerNormalization", inputs, node.name, axis=-1, epsilon=op.eps)
    return Tensor(tensor=tensor, flat=x.flat, quant=None)


def _rms_parts(context: PortableContext, node: Node, x: str) -> str:
    """`x / sqrt(mean(x^2) + eps) * weight + bias`, in the order that compilers recognise."""
    onnx, name, op = context.onnx, node.name, node.attributes(LayerNorm)
    assert not context.form.everywhere, name
    square = onnx.one("Mul", [x, x], f"{name}.square")
    mean = reduced(context, "ReduceMean", square, f"{name}.mean", axes=[-1], keep=True)
    spread = onnx.one("Sqrt", [onnx.one("Add", [mean, onnx.scalar(op.eps)], f"{name}.spread2")], f"{name}.spread")
    unit = onnx.one("Div", [x, spread], name if op.plain else f"{name}.unit")
    if op.plain:
        return unit
    scaled = onnx.one("Mul", [unit, onnx.constant(f"{name}.weight", node.params["weight"].float().numpy())], name)
    bias = node.params["bias"].float().numpy()
    return onnx.one("Add", [scaled, onnx.constant(f"{name}.bias", bias)], f"{name}.sum") if bias.any() else scaled


def _parameters(context: PortableContext, node: Node, x: Tensor) -> tuple[str, str]:
    form, name, onnx = context.form, node.name, context.onnx
    weight, bias = gain_and_offset(node)
    if form.norms == "float":
        return onnx.constant(f"{name}.weight", weight.numpy()), onnx.constant(f"{name}.bias", bias.numpy())
    gain = of_gain(form, weight)
    stored = context.constant(f"{name}.weight", weight, gain)
    if form.norms == "codes":
        return stored, context.constant(f"{name}.bias", bias, of_parameter(form, bias, 8))
    assert x.quant is not None, name
    step = np.float32(x.quant.scale) * np.float32(gain.scale)
    codes = np.rint(bias.double().numpy() / float(step)).astype(np.int32)
    parts = [onnx.own_constant(f"{name}.bias.codes", codes), onnx.scalar(float(step)), onnx.scalar(0, np.int32)]
    return stored, onnx.one("DequantizeLinear", parts, f"{name}.bias")

"""Layer norms: one node, with gain and offset as the target stores them."""

import numpy as np

from mptq_export.capture.graph import Node
from mptq_export.capture.ops import LayerNorm
from mptq_export.emit.portable.context import PortableContext
from mptq_export.emit.portable.values import Tensor
from mptq_export.quantize.portable.ranges import of_gain, of_parameter
from mptq_export.support.errors import MptqError


def emit_layer_norm(context: PortableContext, node: Node) -> Tensor:
    """LayerNormalization over the last axis.

    Raises:
        MptqError: the model's norm takes no mean: runtimes have no node for it.
    """
    op = node.attributes(LayerNorm)
    if op.centered:
        raise MptqError(f"{node.name}: an RMS norm is not supported in the portable form; export without --target")
    # OpenVINO fuses the quantizer behind it at rank 3, not of rows.
    x = context.read(node) if context.form.everywhere else context.read_full(node)
    if not x.flat and len(node.shape.dims) == 2:
        x = context.unflatten(x, node.inputs[0])
    inputs = [x.tensor, *_parameters(context, node, x)]
    tensor = context.onnx.one("LayerNormalization", inputs, node.name, axis=-1, epsilon=op.eps)
    return Tensor(tensor=tensor, flat=x.flat, quant=None)


def _parameters(context: PortableContext, node: Node, x: Tensor) -> tuple[str, str]:
    form, name, onnx = context.form, node.name, context.onnx
    weight, bias = node.params["weight"].float(), node.params["bias"].float()
    if form.norms == "float":
        return onnx.constant(f"{name}.weight", weight.numpy()), onnx.constant(f"{name}.bias", bias.numpy())
    gain = of_gain(form, weight)
    stored = context.constant(f"{name}.weight", weight, gain)
    if form.norms == "codes":
        return stored, context.constant(f"{name}.bias", bias, of_parameter(form, bias, 8))
    assert x.quant is not None, name
    step = np.float32(x.quant.scale) * np.float32(gain.scale)
    codes = np.rint(bias.double().numpy() / float(step)).astype(np.int32)
    parts = [onnx.constant(f"{name}.bias.codes", codes), onnx.scalar(float(step)), onnx.scalar(0, np.int32)]
    return stored, onnx.one("DequantizeLinear", parts, f"{name}.bias")

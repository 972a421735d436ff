"""The portable form: op to handler."""

from functools import partial

from mptq_export.capture import ops
from mptq_export.capture.ops import Op
from mptq_export.emit.portable import activation, attention, elementwise, leaves, norm, weighted
from mptq_export.emit.portable.context import Handler

TABLE: dict[type[Op], Handler] = {
    ops.Input: leaves.emit_input,
    ops.ToPixels: leaves.emit_pixels,
    ops.Constant: leaves.emit_constant,
    ops.Linear: weighted.emit_linear,
    ops.PatchEmbed: weighted.emit_patch_embed,
    ops.Depthwise: weighted.emit_depthwise,
    ops.LayerNorm: norm.emit_layer_norm,
    ops.Matmul: attention.emit_matmul,
    ops.Softmax: attention.emit_softmax,
    ops.Activation: activation.emit_activation,
    ops.Add: partial(elementwise.emit_binary, "Add"),
    ops.Product: partial(elementwise.emit_binary, "Mul"),
    ops.Mul: elementwise.emit_mul,
    ops.Concat: elementwise.emit_concat,
    ops.Pad: elementwise.emit_pad,
    ops.Mean: elementwise.emit_mean,
    ops.Max: elementwise.emit_max,
}

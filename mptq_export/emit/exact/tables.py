"""The exact form: one table a representation, op to handler."""

from mptq_export.capture import ops
from mptq_export.capture.ops import Op
from mptq_export.emit.exact import (
    activation,
    attention,
    depthwise,
    elementwise,
    layer_norm,
    leaves,
    linear,
    patch_embed,
    relu,
    resample,
    residual,
    softmax,
)
from mptq_export.emit.exact.context import CodesHandler, FloatsHandler, Tables
from mptq_export.emit.exact.conversion import encode_floats

CODES: dict[type[Op], CodesHandler] = {
    ops.Input: encode_floats,
    ops.Constant: leaves.emit_constant,
    ops.Linear: linear.emit_codes,
    ops.PatchEmbed: encode_floats,
    ops.Depthwise: depthwise.emit_codes,
    ops.LayerNorm: layer_norm.emit_codes,
    ops.Matmul: attention.emit_codes,
    ops.Softmax: encode_floats,
    ops.Activation: activation.emit_codes,
    ops.Relu: relu.emit_codes,
    ops.Add: encode_floats,
    ops.Pad: encode_floats,
    ops.Mean: encode_floats,
    ops.Max: encode_floats,
    ops.Resample: encode_floats,
    ops.Mul: encode_floats,
    ops.Product: encode_floats,
    ops.Rotary: encode_floats,
    ops.Concat: encode_floats,
}

FLOATS: dict[type[Op], FloatsHandler] = {
    ops.Input: leaves.emit_input,
    ops.Linear: linear.emit_floats,
    ops.PatchEmbed: patch_embed.emit_floats,
    ops.Depthwise: depthwise.emit_floats,
    ops.LayerNorm: layer_norm.emit_floats,
    ops.Matmul: attention.emit_floats,
    ops.Softmax: softmax.emit_floats,
    ops.Activation: activation.emit_floats,
    ops.Relu: relu.emit_floats,
    ops.Add: residual.emit_add,
    ops.Pad: residual.emit_pad,
    ops.Mean: residual.emit_mean,
    ops.Max: elementwise.emit_max,
    ops.Resample: resample.emit_floats,
    ops.Mul: elementwise.emit_mul,
    ops.Product: elementwise.emit_product,
    ops.Rotary: elementwise.emit_rotary,
    ops.Concat: elementwise.emit_concat,
}

TABLES = Tables(CODES, FLOATS)

#: Ops that no handler reads as codes: pixels are read by their patch embedding, `outputs` by the emission.
NEVER_CODES: frozenset[type[Op]] = frozenset({ops.ToPixels, ops.Outputs})

#: Ops that no handler reads as floats: those, and constants, which are codes or part of the op that adds them.
NEVER_FLOATS: frozenset[type[Op]] = NEVER_CODES | {ops.Constant}

#: The nodes of this form that carry the doc strings of their layers; see `annotate`.
CARRIERS: dict[type[Op], tuple[str, ...]] = {
    ops.Matmul: (".product", ".unnormalised", ""),  # what bears the bare name may be the step behind the product
    ops.Softmax: (".exp",),
    ops.LayerNorm: (".unit",),
}

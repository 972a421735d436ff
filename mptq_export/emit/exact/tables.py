"""The exact form: one table a representation, op to handler."""

from mptq_export.capture.ops import (
    Activation,
    Add,
    Concat,
    Constant,
    Depthwise,
    Input,
    LayerNorm,
    Linear,
    Matmul,
    Max,
    Mean,
    Mul,
    Op,
    Outputs,
    Pad,
    PatchEmbed,
    Product,
    Rotary,
    Softmax,
    ToPixels,
)
from mptq_export.emit.exact import (
    activation,
    attention,
    depthwise,
    elementwise,
    layer_norm,
    leaves,
    linear,
    patch_embed,
    residual,
    softmax,
)
from mptq_export.emit.exact.context import CodesHandler, FloatsHandler, Tables
from mptq_export.emit.exact.conversion import encode_floats

CODES: dict[type[Op], CodesHandler] = {
    Input: encode_floats,
    Constant: leaves.emit_constant,
    Linear: linear.emit_codes,
    PatchEmbed: encode_floats,
    Depthwise: depthwise.emit_codes,
    LayerNorm: layer_norm.emit_codes,
    Matmul: attention.emit_codes,
    Softmax: encode_floats,
    Activation: activation.emit_codes,
    Add: encode_floats,
    Pad: encode_floats,
    Mean: encode_floats,
    Max: encode_floats,
    Mul: encode_floats,
    Product: encode_floats,
    Rotary: encode_floats,
    Concat: encode_floats,
}

FLOATS: dict[type[Op], FloatsHandler] = {
    Input: leaves.emit_input,
    Linear: linear.emit_floats,
    PatchEmbed: patch_embed.emit_floats,
    Depthwise: depthwise.emit_floats,
    LayerNorm: layer_norm.emit_floats,
    Matmul: attention.emit_floats,
    Softmax: softmax.emit_floats,
    Activation: activation.emit_floats,
    Add: residual.emit_add,
    Pad: residual.emit_pad,
    Mean: residual.emit_mean,
    Max: elementwise.emit_max,
    Mul: elementwise.emit_mul,
    Product: elementwise.emit_product,
    Rotary: elementwise.emit_rotary,
    Concat: elementwise.emit_concat,
}

TABLES = Tables(CODES, FLOATS)

#: Ops that no handler reads as codes: pixels are read by their patch embedding, `outputs` by the emission.
NEVER_CODES: frozenset[type[Op]] = frozenset({ToPixels, Outputs})

#: Ops that no handler reads as floats: those, and constants, which are codes or part of the op that adds them.
NEVER_FLOATS: frozenset[type[Op]] = NEVER_CODES | {Constant}

#: The nodes of this form that carry the doc strings of their layers; see `annotate`.
CARRIERS: dict[type[Op], tuple[str, ...]] = {
    Matmul: (".product", ".unnormalised", ""),  # what bears the bare name may be the step behind the product
    Softmax: (".exp",),
    LayerNorm: (".unit",),
}

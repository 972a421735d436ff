"""The exact form: one table a representation, op to handler."""

from mptq_export.emit.exact import activation, attention, depthwise, elementwise, layer_norm, leaves, linear, residual
from mptq_export.emit.exact.context import CodesHandler, FloatsHandler, Tables
from mptq_export.emit.exact.conversion import encode_floats

CODES: dict[str, CodesHandler] = {
    "input": encode_floats,
    "constant": leaves.emit_constant,
    "linear": linear.emit_codes,
    "patch_embed": encode_floats,
    "depthwise": depthwise.emit_codes,
    "layer_norm": layer_norm.emit_codes,
    "matmul": attention.emit_context,
    "softmax": encode_floats,
    "activation": activation.emit_codes,
    "add": encode_floats,
    "pad": encode_floats,
    "mean": encode_floats,
    "max": encode_floats,
    "mul": encode_floats,
    "product": encode_floats,
    "rotary": encode_floats,
    "concat": encode_floats,
}

FLOATS: dict[str, FloatsHandler] = {
    "input": leaves.emit_input,
    "linear": linear.emit_floats,
    "patch_embed": linear.emit_floats,
    "depthwise": depthwise.emit_floats,
    "layer_norm": layer_norm.emit_floats,
    "matmul": attention.emit_context_floats,
    "softmax": attention.emit_softmax_floats,
    "activation": activation.emit_floats,
    "add": residual.emit_add,
    "pad": residual.emit_pad,
    "mean": residual.emit_mean,
    "max": elementwise.emit_max,
    "mul": elementwise.emit_mul,
    "product": elementwise.emit_product,
    "rotary": elementwise.emit_rotary,
    "concat": elementwise.emit_concat,
}

TABLES = Tables(CODES, FLOATS)

#: Ops that no handler reads as codes: pixels are read by their patch embedding, `outputs` by the walker.
NEVER_CODES = frozenset({"to_pixels", "outputs"})

#: Ops that no handler reads as floats: those, and constants, which are codes or part of the op that adds them.
NEVER_FLOATS = NEVER_CODES | {"constant"}

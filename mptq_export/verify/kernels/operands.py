"""The ops of onnxruntime that multiply matrices or convolve, and where their operands stand."""

# Position of (left operand, right operand, right operand's scale) in a node's inputs.
INTEGER_OPERANDS: dict[str, tuple[int, int, int | None]] = {
    "ConvInteger": (0, 1, None),
    "DynamicQuantizeMatMul": (0, 1, 2),
    "MatMulInteger": (0, 1, None),
    "MatMulIntegerToFloat": (0, 1, 3),
    "QAttention": (0, 1, 4),
    "QGemm": (0, 3, 4),
    "QLinearConv": (0, 3, 4),
    "QLinearMatMul": (0, 3, 4),
}
FLOAT_OPS = frozenset(
    {"Attention", "Conv", "ConvTranspose", "Einsum", "FusedConv", "FusedGemm", "FusedMatMul", "FusedMatMulActivation"}
    | {"GRU", "Gemm", "GroupQueryAttention", "LSTM", "MatMul", "MatMulBnb4", "MatMulNBits", "MultiHeadAttention"}
    | {"NhwcConv", "NhwcFusedConv", "PackedAttention", "PackedMultiHeadAttention", "RNN"}
)
MATMUL_OPS = frozenset({*INTEGER_OPERANDS, *FLOAT_OPS})
"""All of them."""

"""The ops that exist, by their ONNX name."""

from kernels_ref.ops.dequantize_linear import dequantize_linear
from kernels_ref.ops.elementwise_table import TABLE
from kernels_ref.ops.gemm import gemm
from kernels_ref.ops.mat_mul import mat_mul
from kernels_ref.ops.mat_mul_integer import mat_mul_integer
from kernels_ref.ops.quantize_linear import quantize_linear
from kernels_ref.ops.types import Op

OPS: dict[str, Op] = {
    **TABLE,
    "DequantizeLinear": dequantize_linear,
    "Gemm": gemm,
    "MatMul": mat_mul,
    "MatMulInteger": mat_mul_integer,
    "QuantizeLinear": quantize_linear,
}

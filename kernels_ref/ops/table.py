"""The ops that exist, by their ONNX name, and when each claims equal bits."""

from kernels_ref.ops import claims
from kernels_ref.ops.abs import abs_
from kernels_ref.ops.add import add
from kernels_ref.ops.bit_shift import bit_shift
from kernels_ref.ops.bitwise_and import bitwise_and
from kernels_ref.ops.bitwise_or import bitwise_or
from kernels_ref.ops.bitwise_xor import bitwise_xor
from kernels_ref.ops.cast import cast
from kernels_ref.ops.clip import clip
from kernels_ref.ops.concat import concat
from kernels_ref.ops.constant import constant
from kernels_ref.ops.constant_of_shape import constant_of_shape
from kernels_ref.ops.conv import conv
from kernels_ref.ops.cum_sum import cum_sum
from kernels_ref.ops.dequantize_linear import dequantize_linear
from kernels_ref.ops.div import div
from kernels_ref.ops.dynamic_quantize_linear import dynamic_quantize_linear
from kernels_ref.ops.equal import equal
from kernels_ref.ops.erf import erf
from kernels_ref.ops.exp import exp
from kernels_ref.ops.expand import expand
from kernels_ref.ops.flatten import flatten
from kernels_ref.ops.floor import floor
from kernels_ref.ops.gather import gather
from kernels_ref.ops.gelu import gelu
from kernels_ref.ops.gemm import gemm
from kernels_ref.ops.greater import greater
from kernels_ref.ops.identity import identity
from kernels_ref.ops.layer_normalization import layer_normalization
from kernels_ref.ops.leaky_relu import leaky_relu
from kernels_ref.ops.less import less
from kernels_ref.ops.log import log
from kernels_ref.ops.logical_and import logical_and
from kernels_ref.ops.logical_not import logical_not
from kernels_ref.ops.logical_or import logical_or
from kernels_ref.ops.mat_mul import mat_mul
from kernels_ref.ops.mat_mul_integer import mat_mul_integer
from kernels_ref.ops.max import max_
from kernels_ref.ops.min import min_
from kernels_ref.ops.mod import mod
from kernels_ref.ops.mul import mul
from kernels_ref.ops.neg import neg
from kernels_ref.ops.pad import pad
from kernels_ref.ops.pool import average_pool, global_average_pool, max_pool
from kernels_ref.ops.pow import pow_
from kernels_ref.ops.quantize_linear import quantize_linear
from kernels_ref.ops.range import range_
from kernels_ref.ops.reciprocal import reciprocal
from kernels_ref.ops.reduce_max import reduce_max
from kernels_ref.ops.reduce_mean import reduce_mean
from kernels_ref.ops.reduce_min import reduce_min
from kernels_ref.ops.reduce_sum import reduce_sum
from kernels_ref.ops.relu import relu
from kernels_ref.ops.reshape import reshape
from kernels_ref.ops.round import round_
from kernels_ref.ops.scatter_elements import scatter_elements
from kernels_ref.ops.shape import shape
from kernels_ref.ops.sigmoid import sigmoid
from kernels_ref.ops.slice import slice_
from kernels_ref.ops.softmax import softmax
from kernels_ref.ops.split import split
from kernels_ref.ops.sqrt import sqrt
from kernels_ref.ops.squeeze import squeeze
from kernels_ref.ops.sub import sub
from kernels_ref.ops.tanh import tanh
from kernels_ref.ops.tile import tile
from kernels_ref.ops.transpose import transpose
from kernels_ref.ops.types import Op
from kernels_ref.ops.unsqueeze import unsqueeze
from kernels_ref.ops.where import where
from kernels_ref.qlinear.binary import qlinear_add, qlinear_mul
from kernels_ref.qlinear.claims import (
    average,
    exponentials,
    global_average,
    products_of_codes,
    sigmoid_table,
    sums_of_codes,
)
from kernels_ref.qlinear.pools import qlinear_average_pool, qlinear_global_average_pool
from kernels_ref.qlinear.products import conv_integer, qgemm, qlinear_conv, qlinear_mat_mul
from kernels_ref.qlinear.softmax import qlinear_softmax
from kernels_ref.qlinear.tables import qlinear_concat, qlinear_leaky_relu, qlinear_sigmoid

OPS: dict[str, Op] = {
    "Abs": abs_,
    "Add": add,
    "And": logical_and,
    "AveragePool": average_pool,
    "BitShift": bit_shift,
    "BitwiseAnd": bitwise_and,
    "BitwiseOr": bitwise_or,
    "BitwiseXor": bitwise_xor,
    "Cast": cast,
    "Clip": clip,
    "Concat": concat,
    "Constant": constant,
    "ConstantOfShape": constant_of_shape,
    "Conv": conv,
    "ConvInteger": conv_integer,
    "CumSum": cum_sum,
    "DequantizeLinear": dequantize_linear,
    "Div": div,
    "DynamicQuantizeLinear": dynamic_quantize_linear,
    "Equal": equal,
    "Erf": erf,
    "Exp": exp,
    "Expand": expand,
    "Flatten": flatten,
    "Floor": floor,
    "Gather": gather,
    "Gelu": gelu,
    "Gemm": gemm,
    "GlobalAveragePool": global_average_pool,
    "Greater": greater,
    "Identity": identity,
    "LayerNormalization": layer_normalization,
    "LeakyRelu": leaky_relu,
    "Less": less,
    "Log": log,
    "MatMul": mat_mul,
    "MatMulInteger": mat_mul_integer,
    "Max": max_,
    "MaxPool": max_pool,
    "Min": min_,
    "Mod": mod,
    "Mul": mul,
    "Neg": neg,
    "Not": logical_not,
    "Or": logical_or,
    "Pad": pad,
    "Pow": pow_,
    "QGemm": qgemm,
    "QLinearAdd": qlinear_add,
    "QLinearAveragePool": qlinear_average_pool,
    "QLinearConcat": qlinear_concat,
    "QLinearConv": qlinear_conv,
    "QLinearGlobalAveragePool": qlinear_global_average_pool,
    "QLinearLeakyRelu": qlinear_leaky_relu,
    "QLinearMatMul": qlinear_mat_mul,
    "QLinearMul": qlinear_mul,
    "QLinearSigmoid": qlinear_sigmoid,
    "QLinearSoftmax": qlinear_softmax,
    "QuantizeLinear": quantize_linear,
    "Range": range_,
    "Reciprocal": reciprocal,
    "ReduceMax": reduce_max,
    "ReduceMean": reduce_mean,
    "ReduceMin": reduce_min,
    "ReduceSum": reduce_sum,
    "Relu": relu,
    "Reshape": reshape,
    "Round": round_,
    "ScatterElements": scatter_elements,
    "Shape": shape,
    "Sigmoid": sigmoid,
    "Slice": slice_,
    "Softmax": softmax,
    "Split": split,
    "Sqrt": sqrt,
    "Squeeze": squeeze,
    "Sub": sub,
    "Tanh": tanh,
    "Tile": tile,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
    "Where": where,
}

#: Ops of `com.microsoft` that exist; those of ONNX's names are the same ops.
CONTRIB_OPS = frozenset(
    {"DequantizeLinear", "QGemm", "QLinearAdd", "QLinearAveragePool", "QLinearConcat", "QLinearConv"}
    | {"QLinearGlobalAveragePool", "QLinearLeakyRelu", "QLinearMul", "QLinearSigmoid", "QLinearSoftmax"}
    | {"QuantizeLinear"}
)

#: When each op claims that a runtime gives the same bits.
CLAIMS: dict[str, claims.Claim] = {
    "Abs": claims.always,
    "Add": claims.always,
    "And": claims.always,
    "AveragePool": claims.order,
    "BitShift": claims.shift,
    "BitwiseAnd": claims.always,
    "BitwiseOr": claims.always,
    "BitwiseXor": claims.always,
    "Cast": claims.conversion,
    "Clip": claims.limits,
    "Concat": claims.always,
    "Constant": claims.always,
    "ConstantOfShape": claims.always,
    "Conv": claims.order,
    "ConvInteger": claims.always,
    "CumSum": claims.integers_only,
    "DequantizeLinear": claims.float32_only,
    "Div": claims.always,
    "DynamicQuantizeLinear": claims.always,
    "Equal": claims.always,
    "Erf": claims.function,
    "Exp": claims.function,
    "Expand": claims.always,
    "Flatten": claims.always,
    "Floor": claims.always,
    "Gather": claims.always,
    "Gelu": claims.function,
    "Gemm": claims.order,
    "GlobalAveragePool": claims.order,
    "Greater": claims.always,
    "Identity": claims.always,
    "LayerNormalization": claims.order,
    "LeakyRelu": claims.always,
    "Less": claims.always,
    "Log": claims.function,
    "MatMul": claims.order,
    "MatMulInteger": claims.always,
    "Max": claims.greatest,
    "MaxPool": claims.always,
    "Min": claims.greatest,
    "Mod": claims.rest,
    "Mul": claims.always,
    "Neg": claims.always,
    "Not": claims.always,
    "Or": claims.always,
    "Pad": claims.always,
    "Pow": claims.power,
    "QGemm": claims.always,
    "QLinearAdd": sums_of_codes,
    "QLinearAveragePool": average,
    "QLinearConcat": claims.always,
    "QLinearConv": claims.always,
    "QLinearGlobalAveragePool": global_average,
    "QLinearLeakyRelu": claims.always,
    "QLinearMatMul": claims.always,
    "QLinearMul": products_of_codes,
    "QLinearSigmoid": sigmoid_table,
    "QLinearSoftmax": exponentials,
    "QuantizeLinear": claims.float32_only,
    "Range": claims.integers_only,
    "Reciprocal": claims.always,
    "ReduceMax": claims.greatest_along_axes,
    "ReduceMean": claims.order,
    "ReduceMin": claims.greatest_along_axes,
    "ReduceSum": claims.sum_along_axes,
    "Relu": claims.not_below_zero,
    "Reshape": claims.always,
    "Round": claims.always,
    "ScatterElements": claims.scattered,
    "Shape": claims.always,
    "Sigmoid": claims.function,
    "Slice": claims.always,
    "Softmax": claims.function,
    "Split": claims.always,
    "Sqrt": claims.always,
    "Squeeze": claims.always,
    "Sub": claims.always,
    "Tanh": claims.function,
    "Tile": claims.always,
    "Transpose": claims.always,
    "Unsqueeze": claims.always,
    "Where": claims.choice,
}

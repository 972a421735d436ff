"""Recognises the integer convolutions that a runtime fuses, and computes them.

    DequantizeLinear(x), DequantizeLinear(w)[, DequantizeLinear(bias)] -> Conv -> QuantizeLinear

with `acc = sum over the window of (x - zero_x) w + bias`, an exact int32; zeros around x are zeros after the zero point
is taken off. Every step after it is float32, in the order of a fused Gemm (`kernels_ref.fusion`):

    codes:  clip(rint(float32(acc) * ((scale_x * scale_w) / scale_y)) + zero_y)

Fused are, as measured with onnxruntime 1.32 on x86-64, 8-bit weights on one scale or one for each output channel,
and a bias as of a fused Gemm. A convolution that no QuantizeLinear follows runs in floats there; it is
computed op by op here.
"""

from dataclasses import dataclass

import numpy as np

from kernels_ref.biases import bias_codes, quantized_bias
from kernels_ref.errors import InterpreterError
from kernels_ref.fusion import Operand, operand
from kernels_ref.limits import check_result
from kernels_ref.matmul import fits_int32
from kernels_ref.model import Graph, Node
from kernels_ref.ops.conv import conv
from kernels_ref.ops.quantize_linear import to_codes
from kernels_ref.ops.types import Array
from kernels_ref.qlinear.parameters import EIGHT_BITS
from kernels_ref.readers import Readers
from kernels_ref.signed import Signed


@dataclass(frozen=True)
class FusedConvolution:
    """A fused convolution: float64 sums of whole numbers are exact below 2^53.

    `weight`: the codes of `w` without zero points, float64; `bias`: int32 codes.
    """

    node: Node
    x: Operand
    w: Operand
    weight: Array
    bias: Array | None
    codes_node: Node
    scale_y: Array
    zero_y: Array

    def __call__(self, codes: Array) -> tuple[Array, ...]:
        """The float result as it would be outside of the fused op, and the codes.

        Raises:
            InterpreterError: the codes have another type than their zero point, or the accumulator leaves int32.
        """
        if codes.dtype != self.x.zero.dtype:
            raise InterpreterError(f"the codes are {codes.dtype} and their zero point {self.x.zero.dtype}")
        x = codes.astype(np.float64) - self.x.zero.astype(np.float64)
        inputs = (x, self.weight, None if self.bias is None else self.bias.astype(np.float64))
        check_result("Conv", inputs, self.node.attributes)
        (acc,) = conv(inputs, self.node.attributes)
        fits_int32(acc)
        acc32, column = acc.astype(np.float32), (-1, *[1] * (acc.ndim - 2))
        scale = np.asarray(self.x.scale * self.w.scale).reshape(column)
        return acc32 * scale, to_codes(acc32 * (scale / self.scale_y), self.zero_y, in_place=True)


def find_convolutions(graph: Graph, readers: Readers, signed: Signed) -> dict[str, FusedConvolution]:
    """Every fused convolution of a graph, by the name of the tensor that its Conv makes.

    Args:
        graph: the graph, with its codes propagated.
        readers: its edges and constants.
        signed: the types of its codes.

    Raises:
        InterpreterError: a float bias does not fit into int32, or the runtime would quantize float weights by itself.
    """
    found = {}
    for node in graph.nodes:
        if node.op != "Conv" or len(node.inputs) < 2 or node.outputs[0] in readers.constants:
            continue
        reader = readers.quantizer(node.outputs[0])
        fused = None if reader is None else _fuse(node, reader, readers, signed)
        if fused is not None:
            found[node.outputs[0]] = fused
    return found


def _fuse(node: Node, reader: Node, readers: Readers, signed: Signed) -> FusedConvolution | None:
    constants = readers.constants
    x = operand(node.inputs[0], None, readers, zeros_named=False)
    quantization = readers.eight_bit_scale(reader)
    if x is None or quantization is None:
        return None
    held = signed.held(x.codes, x.zero.dtype)
    if held == np.int8 or signed.held(reader.outputs[0], quantization[1].dtype) != held:
        return None  # x86-64 has no integer convolution of int8 activations
    if node.inputs[1] in constants and node.inputs[1] not in readers.producers:
        raise InterpreterError(
            f"{node.label}: a runtime quantizes the float weights {node.inputs[1]} in a way of its own"
        )
    w = _weight(node.inputs[1], readers)
    if w is None:
        return None
    weight = constants[w.codes].astype(np.float64)
    weight -= w.zero.astype(np.float64).reshape(-1, *[1] * (weight.ndim - 1))
    bias = None
    if len(node.inputs) > 2 and node.inputs[2]:
        bias = bias_codes(node.inputs[2], readers)
        if bias is None:
            bias = quantized_bias(node.inputs[2], np.asarray(x.scale * w.scale), constants)
        if bias is None:
            return None
    scale_y, zero_y = quantization
    return FusedConvolution(
        node=node, x=x, w=w, weight=weight, bias=bias, codes_node=reader, scale_y=scale_y, zero_y=zero_y
    )


def _weight(name: str, readers: Readers) -> Operand | None:
    """Constant 8-bit codes on one scale, or on one for each output channel."""
    constants = readers.constants
    node = readers.producers.get(name)
    if node is None or node.op != "DequantizeLinear" or node.inputs[0] not in constants:
        return None
    codes, (scale, zero) = constants[node.inputs[0]], readers.parameters(node)
    if node.attributes.get("block_size", 0) or codes.dtype not in EIGHT_BITS or scale is None or zero is None:
        return None
    if scale.dtype != np.float32 or zero.dtype != codes.dtype:
        return None
    if scale.size == 1 and zero.size == 1:
        return Operand(node.inputs[0], scale.reshape(()), zero.reshape(()))
    if scale.shape != codes.shape[:1] or zero.shape != scale.shape or node.attributes.get("axis", 1) != 0:
        return None
    return Operand(node.inputs[0], scale, zero)

"""Recognises the integer convolutions that a runtime fuses, and computes them.

    DequantizeLinear(x), DequantizeLinear(w)[, DequantizeLinear(bias)] -> Conv -> QuantizeLinear

with `acc = sum over the window of (x - zero_x) w + bias`, an exact int32; zeros around x are zeros after the zero point
is taken off. Every step after it is float32, in the order of a fused Gemm (`kernels_ref.fusion`):

    codes:  clip(rint(float32(acc) * ((scale_x * scale_w) / scale_y)) + zero_y)

Fused are, as measured with onnxruntime 1.32 on x86, weights with one scale for each output channel and zero point 0.
A convolution that no QuantizeLinear follows runs in floats there; it is computed op by op here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernels_ref.constants import Constants
from kernels_ref.errors import InterpreterError
from kernels_ref.fusion import Operand, bias_codes, consumers_of, operand, scalar_codes
from kernels_ref.limits import check_result
from kernels_ref.matmul import fits_int32
from kernels_ref.model import Graph, Node
from kernels_ref.ops.conv import conv
from kernels_ref.ops.quantize_linear import to_codes
from kernels_ref.ops.types import Array


@dataclass(frozen=True)
class FusedConvolution:
    """A fused convolution: float64 sums of whole numbers are exact below 2^53."""

    node: Node
    x: Operand
    weight: Array
    bias: Array | None
    scale: Array
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
        inputs = (x, self.weight, self.bias)
        check_result("Conv", inputs, self.node.attributes)
        (acc,) = conv(inputs, self.node.attributes)
        fits_int32(acc)
        acc32, column = acc.astype(np.float32), (-1, *[1] * (acc.ndim - 2))
        scale = (self.x.scale * self.scale).reshape(column)
        return acc32 * scale, to_codes(acc32 * (scale / self.scale_y), self.zero_y, in_place=True)


def find_convolutions(graph: Graph, constants: Constants) -> dict[str, FusedConvolution]:
    """Every fused convolution of a graph, by the name of the tensor that its Conv makes."""
    producers = {name: node for node in graph.nodes for name in node.outputs if name}
    consumers = consumers_of(graph)
    found = {}
    for node in graph.nodes:
        if node.op != "Conv" or len(node.inputs) < 2 or node.outputs[0] in graph.outputs:
            continue
        readers = consumers.get(node.outputs[0], [])
        fused = _fuse(node, readers[0], producers, constants) if len(readers) == 1 else None
        if fused is not None:
            found[node.outputs[0]] = fused
    return found


def _fuse(node: Node, reader: Node, producers: Mapping[str, Node], constants: Constants) -> FusedConvolution | None:
    x, weight = operand(node.inputs[0], None, producers, constants), _weight(node.inputs[1], producers, constants)
    quantization = scalar_codes(reader, constants) if reader.op == "QuantizeLinear" else None
    if x is None or weight is None or quantization is None or quantization[1].dtype != x.zero.dtype:
        return None
    bias: Array | None = None
    if len(node.inputs) > 2 and node.inputs[2]:
        bias = bias_codes(node.inputs[2], producers, constants)
        if bias is None:
            return None
        bias = bias.astype(np.float64)
    codes, scale = weight
    return FusedConvolution(node, x, codes.astype(np.float64), bias, scale, reader, *quantization)


def _weight(name: str, producers: Mapping[str, Any], constants: Constants) -> tuple[Array, Array] | None:
    """Constant int8 codes and their scales, one for each output channel."""
    node = producers.get(name)
    if node is None or node.op != "DequantizeLinear" or any(part not in constants for part in node.inputs):
        return None
    codes, scale, *zero = (constants[part] for part in node.inputs)
    if codes.dtype != np.int8 or scale.dtype != np.float32 or scale.shape != codes.shape[:1]:
        return None
    if node.attributes.get("axis", 1) != 0 or not zero or zero[0].any() or node.attributes.get("block_size", 0):
        return None
    return codes, scale

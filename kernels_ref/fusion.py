"""Recognises the integer matrix products that a runtime fuses, and computes them.

    DequantizeLinear(a), DequantizeLinear(w)[, DequantizeLinear(bias)] -> Gemm or MatMul [-> QuantizeLinear]

with `acc = sum over K of (a - zero_a) (w - zero_w) + bias`, an exact int32. Every step is float32, in this order:

    float output:  float32(acc) * (scale_a * scale_w)
    codes:         clip(rint(float32(acc) * ((scale_a * scale_w) / scale_y)) + zero_y)

Fused are, as measured with onnxruntime 1.32 on x86: weights on one scale or one for each output channel; a bias of
constant int32 codes; output codes of the activation's type; zero points written out (the runtime asks this of Gemm
only, but a file that leaves them out of a MatMul is computed op by op here). All else is computed op by op.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kernels_ref.constants import Constants
from kernels_ref.matmul import MAX_I32, centred, exact_product, factor_slices, fits_int32
from kernels_ref.model import Graph, Node
from kernels_ref.ops.quantize_linear import code_range, to_codes
from kernels_ref.ops.types import Array
from kernels_ref.weight import ConstantWeight, constant_weight

_EIGHT_BITS = (np.uint8, np.int8)


@dataclass(frozen=True)
class Operand:
    """A factor of the product: its codes, float32 scale (scalar, or one for each output channel) and zero point."""

    codes: str
    scale: Array
    zero: Array

    @property
    def greatest(self) -> int:
        """Greatest |code - zero| that the type allows."""
        low, high = code_range(self.zero.dtype)
        zero = self.zero.astype(np.int64)
        return int(max(np.abs(low - zero).max(), np.abs(high - zero).max()))


@dataclass(frozen=True)
class FusedMatmul:
    """A fused product. `codes_node` is the QuantizeLinear that takes part in it, `weight` holds the bias too."""

    node: Node
    a: Operand
    w: Operand
    weight: ConstantWeight | None
    codes_node: Node | None
    scale_y: Array
    zero_y: Array

    @cached_property
    def _scale(self) -> Array:
        return np.asarray(self.a.scale * self.w.scale)

    @cached_property
    def _factor(self) -> Array:
        return np.asarray(self._scale / self.scale_y)

    @property
    def transposed(self) -> bool:
        """Whether the activation comes as (K, M)."""
        return bool(self.node.attributes.get("transA", 0))

    def accumulate(self, a: Array, w: Array | None) -> Array:
        """`float32(acc)`.

        Args:
            a: (..., M, K) codes without zero point, float32; as `weight` asks where there is one.
            w: (..., K, N) likewise; None where the weights are constant.

        Raises:
            InterpreterError: the accumulator leaves int32.
        """
        if self.weight is not None:
            return self.weight.accumulate(a)
        assert w is not None
        greatest = self.a.greatest * self.w.greatest
        acc = exact_product(a, w, factor_slices(a.shape[-1], greatest))
        if a.shape[-1] * greatest > MAX_I32:
            fits_int32(acc)
        return np.asarray(acc.astype(np.float32, copy=False))

    def to_float(self, acc: Array) -> Array:
        """The float output of an accumulator, in new memory."""
        return np.asarray(acc * self._scale)

    def to_float_in_place(self, acc: Array) -> Array:
        """The same in the accumulator's memory."""
        return np.multiply(acc, self._scale, out=acc)

    def to_codes(self, acc: Array) -> Array:
        """The codes of an accumulator, whose memory is overwritten."""
        return to_codes(np.multiply(acc, self._factor, out=acc), self.zero_y, in_place=True)


def find_fusions(graph: Graph, constants: Constants) -> dict[str, FusedMatmul]:
    """Every fused product of a graph, by the name of the tensor that its Gemm or MatMul makes."""
    producers = {name: node for node in graph.nodes for name in node.outputs if name}
    consumers = consumers_of(graph)
    fusions = {}
    for node in graph.nodes:
        output = node.outputs[0] if node.outputs else ""
        if node.op not in ("Gemm", "MatMul") or output in constants:
            continue
        reader = consumers.get(output, [])
        sole = reader[0] if len(reader) == 1 and output not in graph.outputs else None
        fused = _fuse(node, sole, producers, constants)
        if fused is not None:
            fusions[output] = fused
    return fusions


def consumers_of(graph: Graph) -> dict[str, list[Node]]:
    """The nodes that read a tensor, by its name."""
    consumers: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for name in filter(None, node.inputs):
            consumers.setdefault(name, []).append(node)
    return consumers


def _fuse(node: Node, reader: Node | None, producers: dict[str, Node], constants: Constants) -> FusedMatmul | None:
    attributes, is_gemm = node.attributes, node.op == "Gemm"
    if attributes.get("alpha", 1.0) != 1 or attributes.get("beta", 1.0) != 1:
        return None
    if len(node.inputs) < 2:
        return None
    transposed = bool(attributes.get("transB", 0))
    a = operand(node.inputs[0], None, producers, constants)
    w = operand(node.inputs[1], 0 if transposed else 1, producers, constants)
    if a is None or w is None or (is_gemm and w.codes not in constants):
        return None
    if not is_gemm and a.zero.dtype != np.uint8:
        return None  # a runtime fuses a MatMul of int8 activations on some CPUs only
    bias = None
    if len(node.inputs) > 2 and node.inputs[2]:
        bias = bias_codes(node.inputs[2], producers, constants)
        if bias is None:
            return None
    codes_node, scale_y, zero_y = None, np.asarray(np.float32(1)), np.asarray(np.uint8(0))
    if reader is not None and reader.op == "QuantizeLinear" and reader.inputs[0] == node.outputs[0]:
        quantization = scalar_codes(reader, constants)
        if quantization is None or quantization[1].dtype != a.zero.dtype:
            # A runtime that cannot give these codes from the integer kernel keeps the whole product in float.
            return None
        codes_node, (scale_y, zero_y) = reader, quantization
    weight = None
    if w.codes in constants:
        codes = constants[w.codes]
        matrix = centred(codes.T if transposed else codes, w.zero)
        weight = constant_weight(matrix, code_range(a.zero.dtype), int(a.zero), bias)
    return FusedMatmul(node, a, w, weight, codes_node, scale_y, zero_y)


def operand(name: str, channel_axis: int | None, producers: Mapping[str, Node], constants: Constants) -> Operand | None:
    """The factor behind a DequantizeLinear with an explicit zero point; None where it is not one that fuses."""
    node = producers.get(name)
    if node is None or node.op != "DequantizeLinear" or len(node.inputs) < 3 or node.attributes.get("block_size", 0):
        return None
    codes, scale_name, zero_name = node.inputs
    if scale_name not in constants or zero_name not in constants:
        return None
    scale, zero = constants[scale_name], constants[zero_name]
    if scale.dtype != np.float32 or zero.dtype not in _EIGHT_BITS:
        return None
    if scale.size == 1 and zero.size == 1:
        return Operand(codes, scale.reshape(()), zero.reshape(()))
    if channel_axis is None or codes not in constants:
        return None
    shape, axis = constants[codes].shape, node.attributes.get("axis", 1)
    if (
        len(shape) != 2
        or axis % 2 != channel_axis
        or scale.shape != (shape[channel_axis],)
        or zero.shape != scale.shape
    ):
        return None
    return Operand(codes, scale, zero)


def bias_codes(name: str, producers: Mapping[str, Node], constants: Constants) -> Array | None:
    """The int32 codes behind a bias's DequantizeLinear. A kernel adds them as they are, whatever their scale says."""
    node = producers.get(name)
    if node is None or node.op != "DequantizeLinear" or node.inputs[0] not in constants:
        return None
    codes = constants[node.inputs[0]]
    return codes if codes.dtype == np.int32 and codes.ndim == 1 else None


def scalar_codes(node: Node, constants: Constants) -> tuple[Array, Array] | None:
    """Scale and zero point of a QuantizeLinear that gives 8-bit codes on one scale."""
    if any(name and name not in constants for name in node.inputs[1:]) or node.attributes.get("output_dtype", 0):
        return None
    scale = constants[node.inputs[1]]
    zero = constants[node.inputs[2]] if len(node.inputs) > 2 and node.inputs[2] else np.asarray(np.uint8(0))
    if scale.size != 1 or scale.dtype != np.float32 or zero.size != 1 or zero.dtype not in _EIGHT_BITS:
        return None
    return scale.reshape(()), zero.reshape(())

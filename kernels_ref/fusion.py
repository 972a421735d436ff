"""Recognises the integer matrix products that a runtime fuses, and computes them.

    DequantizeLinear(a), DequantizeLinear(w)[, DequantizeLinear(bias)] -> Gemm or MatMul [-> QuantizeLinear]

with `acc = sum over K of (a - zero_a) (w - zero_w) + bias`, an exact int32. Every step is float32, in this order:

    float output:  float32(acc) * (scale_a * scale_w)
    codes:         clip(rint(float32(acc) * ((scale_a * scale_w) / scale_y)) + zero_y)

Fused are, as measured with onnxruntime 1.32 on x86-64:

- weights on one scale or one for each output channel, also behind a Transpose; zero points written out beside a Gemm;
- a bias of constant int32 codes, beside a Gemm also one for each row of the result, all the same; or of floats if
  codes come out: then it is quantized first (`kernels_ref.biases`);
- MatMul and Add as a Gemm, where the shapes allow it;
- output codes of the activation's type, read by nothing else; a Relu or Clip before them that changes no code;
- activations that the runtime holds as uint8 (`kernels_ref.signed`), for a Gemm also int8.

All else is computed op by op.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from kernels_ref.biases import bias_codes, bias_rows, find_biases, quantized_bias
from kernels_ref.matmul import MAX_I32, centred, exact_product, factor_slices, fits_int32
from kernels_ref.model import Graph, Node
from kernels_ref.ops.quantize_linear import code_range, to_codes
from kernels_ref.ops.types import Array
from kernels_ref.qlinear.parameters import EIGHT_BITS
from kernels_ref.readers import Readers
from kernels_ref.signed import Signed
from kernels_ref.weight import ConstantWeight, constant_weight


@dataclass(frozen=True)
class Operand:
    """A factor of the product: its codes, float32 scale (scalar, or one for each output channel) and zero point.

    `transposed`: the constant codes are turned before they meet the other factor.
    """

    codes: str
    scale: Array
    zero: Array
    transposed: bool = False

    @property
    def greatest(self) -> int:
        """Greatest |code - zero| that the type allows."""
        low, high = code_range(self.zero.dtype)
        zero = self.zero.astype(np.int64)
        return int(max(np.abs(low - zero).max(), np.abs(high - zero).max()))


@dataclass(frozen=True)
class FusedMatmul:
    """A fused product.

    `codes_node` is the QuantizeLinear that takes part in it, `weight` holds the `bias` (int32 codes) too;
    `weight_codes` are the constant codes as the file has them, `bias_rows` names a bias that has a row for each row.
    """

    node: Node
    a: Operand
    w: Operand
    weight: ConstantWeight | None
    codes_node: Node | None
    scale_y: Array
    zero_y: Array
    bias: Array | None
    weight_codes: Array | None
    bias_rows: str | None = None

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


def find_fusions(graph: Graph, readers: Readers, signed: Signed) -> dict[str, FusedMatmul]:
    """Every fused product of a graph, by the name of the tensor that it makes.

    Args:
        graph: the graph, with its codes propagated.
        readers: its edges and constants.
        signed: the types of its codes.

    Raises:
        InterpreterError: a float bias does not fit into int32.
    """
    fusions, constants = {}, readers.constants
    biased = find_biases(graph, readers)
    for node in graph.nodes:
        output = node.outputs[0] if node.outputs else ""
        if output in biased.values() or node.op not in ("Gemm", "MatMul") or output in constants:
            continue
        fused = _fuse(node, readers, signed)
        if fused is not None:
            fusions[output] = fused
    for add in graph.nodes:
        if add.outputs and add.outputs[0] in biased:
            product = readers.producers[biased[add.outputs[0]]]
            bias = next(name for name in add.inputs if name != product.outputs[0])
            whole = replace(product, op="Gemm", inputs=(*product.inputs, bias), outputs=add.outputs)
            fused = _fuse(whole, readers, signed)
            if fused is not None:
                fusions[add.outputs[0]] = fused
    return fusions


def _fuse(node: Node, readers: Readers, signed: Signed) -> FusedMatmul | None:
    attributes, is_gemm, constants = node.attributes, node.op == "Gemm", readers.constants
    if attributes.get("alpha", 1.0) != 1 or attributes.get("beta", 1.0) != 1 or len(node.inputs) < 2:
        return None
    if readers.is_limited(node.outputs[0]):
        return None  # a Relu or Clip that does change codes becomes a part of a float product
    codes_node = readers.quantizer(node.outputs[0])
    if codes_node is None and readers.is_quantized(node.outputs[0]):
        return None  # several readers: the product stays in floats
    transposed = bool(attributes.get("transB", 0))
    a = operand(node.inputs[0], None, readers, zeros_named=is_gemm)
    w = operand(node.inputs[1], 0 if transposed else 1, readers, zeros_named=is_gemm)
    if a is None or w is None or (is_gemm and w.codes not in constants):
        return None
    held = np.dtype(np.uint8) if signed.raised(a.codes) else a.zero.dtype
    if held == np.int8 and not (is_gemm and w.zero.dtype == np.int8):
        return None  # a runtime multiplies int8 activations in integers on some CPUs only
    scale_y, zero_y = np.asarray(np.float32(1)), np.asarray(np.uint8(0))
    if codes_node is not None:
        quantization = readers.eight_bit_scale(codes_node)
        # A runtime that cannot give these codes from the integer kernel keeps the whole product in float.
        if quantization is None or signed.held(codes_node.outputs[0], quantization[1].dtype) != held:
            return None
        scale_y, zero_y = quantization
    bias, named = None, None
    if len(node.inputs) > 2 and node.inputs[2]:
        bias = bias_codes(node.inputs[2], readers)
        rows = bias_rows(node.inputs[2], readers) if bias is None else None
        if rows is not None:
            named, bias = rows
        if bias is None and codes_node is not None:
            bias = quantized_bias(node.inputs[2], np.asarray(a.scale * w.scale), constants)
        if bias is None:
            return None
    weight, codes = None, None
    if w.codes in constants:
        codes = constants[w.codes]
        matrix = centred(codes.T if transposed != w.transposed else codes, w.zero)
        weight = constant_weight(matrix, code_range(a.zero.dtype), int(a.zero), bias)
    return FusedMatmul(
        node=node,
        a=a,
        w=w,
        weight=weight,
        codes_node=codes_node,
        scale_y=scale_y,
        zero_y=zero_y,
        bias=bias,
        weight_codes=codes,
        bias_rows=named,
    )


def operand(name: str, channel_axis: int | None, readers: Readers, *, zeros_named: bool = True) -> Operand | None:
    """The 8-bit factor behind a DequantizeLinear; None where it is not one that fuses.

    Args:
        name: name of the dequantized tensor.
        channel_axis: of a constant matrix, the axis on which it may have several scales.
        readers: the edges and constants of the graph.
        zeros_named: whether the zero point must be written out.
    """
    node, transposed, constants = readers.producers.get(name), False, readers.constants
    if node is not None and node.op == "Transpose" and node.attributes.get("perm", [1, 0]) == [1, 0]:
        node, transposed = readers.producers.get(node.inputs[0]), True
        if node is None or node.inputs[0] not in constants or channel_axis is None:
            return None
    if node is None or node.op != "DequantizeLinear" or node.attributes.get("block_size", 0):
        return None
    if zeros_named and (len(node.inputs) < 3 or not node.inputs[2]):
        return None
    codes = node.inputs[0]
    scale, zero = readers.parameters(node)
    if scale is None or zero is None or scale.dtype != np.float32 or zero.dtype not in EIGHT_BITS:
        return None
    if scale.size == 1 and zero.size == 1:
        return Operand(codes, scale.reshape(()), zero.reshape(()), transposed)
    if channel_axis is None or codes not in constants:
        return None
    shape, axis = constants[codes].shape, node.attributes.get("axis", 1)
    own_axis = 1 - channel_axis if transposed else channel_axis
    if len(shape) != 2 or axis % 2 != own_axis or scale.shape != (shape[own_axis],) or zero.shape != scale.shape:
        return None
    return Operand(codes, scale, zero, transposed)

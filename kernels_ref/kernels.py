"""The kernels that a graph runs as here, in the terms of a runtime."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kernels_ref.code_ops import CodeOp, raise_codes
from kernels_ref.convolution import FusedConvolution
from kernels_ref.fusion import FusedMatmul, Operand
from kernels_ref.model import Node
from kernels_ref.ops.types import Array
from kernels_ref.readers import Readers
from kernels_ref.signed import Signed


@dataclass(frozen=True)
class Kernel:
    """One computation that `kernels_ref` makes of one or more nodes.

    Attributes:
        op: the name of the op that gives these bits in one go, such as QGemm: ONNX's, or that of `com.microsoft`.
        inputs: in the order of that op: the name of a tensor, or the value of a constant that has another form in the
            file, or None where an optional input is left out.
        outputs: names of the tensors that it makes.
        attributes: those of the node, as the file has them.
    """

    op: str
    inputs: tuple[str | Array | None, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


class Kernels:
    """Writes the kernels of a compiled graph down.

    Args:
        fusions: the fused products, by the tensor that they make.
        convolutions: the fused convolutions, likewise.
        code_ops: the ops on codes, by the codes that they make.
        readers: the edges of the graph.
        signed: the types of its codes.
    """

    def __init__(
        self,
        fusions: Mapping[str, FusedMatmul],
        convolutions: Mapping[str, FusedConvolution],
        code_ops: Mapping[str, CodeOp],
        readers: Readers,
        signed: Signed,
    ) -> None:
        self._fusions, self._convolutions, self._code_ops = fusions, convolutions, code_ops
        self._readers, self._signed = readers, signed
        self._inside = {op.codes_node.outputs[0] for op in fusions.values() if op.codes_node is not None}
        self._inside |= {op.codes_node.outputs[0] for op in convolutions.values()}

    def of(self, nodes: tuple[Node, ...]) -> Iterator[Kernel]:
        """The kernels of nodes, in their order; what a fused one makes of the nodes around it is its own."""
        for node in nodes:
            name = node.outputs[0] if node.outputs else ""
            if name in self._fusions:
                yield self._product(self._fusions[name])
            elif name in self._convolutions:
                yield self._convolution(self._convolutions[name])
            elif name in self._code_ops:
                op = self._code_ops[name]
                yield Kernel(op.op, op.named, node.outputs, op.node.attributes)
            elif name not in self._inside:
                yield Kernel(node.op, tuple(x or None for x in node.inputs), node.outputs, node.attributes)

    def _product(self, fused: FusedMatmul) -> Kernel:
        a, w, codes_node = fused.a, fused.w, fused.codes_node
        left, right = (a.codes, a.scale, self._zero(a)), (self._codes(w, fused), w.scale, self._zero(w))
        output = () if codes_node is None else (fused.scale_y, self._held(codes_node.outputs[0], fused.zero_y))
        outputs = fused.node.outputs if codes_node is None else codes_node.outputs
        if fused.node.op == "Gemm":
            bias = fused.bias if fused.bias_rows is None else fused.bias_rows
            return Kernel("QGemm", (*left, *right, bias, *output), outputs, fused.node.attributes)
        if codes_node is not None:
            return Kernel("QLinearMatMul", (*left, *right, *output), outputs, {})
        order = (left[0], right[0], left[1], right[1], left[2], right[2])
        return Kernel("MatMulIntegerToFloat", order, outputs, {})

    def _convolution(self, fused: FusedConvolution) -> Kernel:
        x, w, codes = fused.x, fused.w, fused.codes_node.outputs[0]
        inputs = (x.codes, x.scale, self._zero(x), w.codes, w.scale, w.zero)
        output = (fused.scale_y, self._held(codes, fused.zero_y))
        return Kernel("QLinearConv", (*inputs, *output, fused.bias), (codes,), fused.node.attributes)

    def _codes(self, w: Operand, fused: FusedMatmul) -> str | Array:
        return w.codes if fused.weight_codes is None or not w.transposed else fused.weight_codes.T

    def _zero(self, operand: Operand) -> Array:
        return self._held(operand.codes, operand.zero)

    def _held(self, codes: str, zero: Array) -> Array:
        return raise_codes(zero.reshape(1)).reshape(()) if self._signed.raised(codes) else zero

"""Which kernel each matmul really runs as, read from onnxruntime's optimised graph."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from mptq_export.verify.runtime_graph import RuntimeGraph, open_runtime_graph

# Position of (left operand, right operand, right operand's scale) in a node's inputs.
_INTEGER_OPERANDS: dict[str, tuple[int, int, int | None]] = {
    "ConvInteger": (0, 1, None),
    "DynamicQuantizeMatMul": (0, 1, 2),
    "MatMulInteger": (0, 1, None),
    "MatMulIntegerToFloat": (0, 1, 3),
    "QAttention": (0, 1, 4),
    "QGemm": (0, 3, 4),
    "QLinearConv": (0, 3, 4),
    "QLinearMatMul": (0, 3, 4),
}
_FLOAT_OPS = {
    "Attention",
    "Conv",
    "ConvTranspose",
    "Einsum",
    "FusedConv",
    "FusedGemm",
    "FusedMatMul",
    "FusedMatMulActivation",
    "GRU",
    "Gemm",
    "GroupQueryAttention",
    "LSTM",
    "MatMul",
    "MatMulBnb4",
    "MatMulNBits",
    "MultiHeadAttention",
    "NhwcConv",
    "NhwcFusedConv",
    "PackedAttention",
    "PackedMultiHeadAttention",
    "RNN",
}
MATMUL_OPS = frozenset({*_INTEGER_OPERANDS, *_FLOAT_OPS})
"""Every op of onnxruntime that multiplies matrices or convolves."""

_INTEGER_DTYPES = {"int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"}

PAIR_SUM_SAFE = 128
"""Largest |w[2i]| + |w[2i+1]| with which codes up to 255 stay inside int16: 255 * 128 < 2^15 (x86 without VNNI)."""


@dataclass(frozen=True)
class MatmulKernel:
    """One matmul as onnxruntime runs it.

    Attributes:
        name: the node's name.
        op: the kernel, such as ``QGemm``.
        kind: whether the products are of integers or of floats.
        inputs: types of the two operands.
        weight: form of the right operand: ``int8 per-channel, codes -63..63``, or ``activation``.
        pair_sum: for constant int8 weights, the largest |w[2i]| + |w[2i+1]| along the summed axis; a sum above
            `PAIR_SUM_SAFE` saturates on an x86 CPU without VNNI if the activation uses all 8 bits. None where
            that cannot happen.
    """

    name: str
    op: str
    kind: Literal["integer", "float"]
    inputs: tuple[str, str]
    weight: str
    pair_sum: int | None = None


@dataclass(frozen=True)
class KernelPlan:
    """Every matmul of a file as onnxruntime runs it.

    Attributes:
        matmuls: the matmuls in graph order.
        op_counts: number of nodes of each op in the optimised graph, most frequent first.
    """

    matmuls: tuple[MatmulKernel, ...]
    op_counts: dict[str, int]

    @property
    def integer(self) -> tuple[MatmulKernel, ...]:
        """The matmuls that multiply integers."""
        return tuple(kernel for kernel in self.matmuls if kernel.kind == "integer")

    @property
    def floating(self) -> tuple[MatmulKernel, ...]:
        """The matmuls that fell back to floats: each is a failure of the export."""
        return tuple(kernel for kernel in self.matmuls if kernel.kind == "float")

    @property
    def may_saturate(self) -> tuple[MatmulKernel, ...]:
        """The matmuls whose weights are safe only if the activation uses fewer than 8 bits."""
        return tuple(kernel for kernel in self.matmuls if (kernel.pair_sum or 0) > PAIR_SUM_SAFE)

    def to_json(self) -> dict[str, Any]:
        """The plan as plain JSON values."""
        return asdict(self)


def read_kernel_plan(path: Path) -> KernelPlan:
    """Ask onnxruntime how it runs the file under its default session options.

    Args:
        path: the ONNX file.

    Raises:
        MptqError: the file is not ONNX, or onnxruntime refuses it.
    """
    return kernel_plan(open_runtime_graph(path))


def kernel_plan(runtime: RuntimeGraph) -> KernelPlan:
    """The plan of a graph that is open already."""
    constants = {tensor.name: tensor for tensor in runtime.model.graph.initializer}
    nodes = list(_all_nodes(runtime.model.graph))
    kernels = [_read_matmul(node, runtime.dtypes, constants) for node in nodes]
    counts = Counter(node.op_type for node in nodes)
    return KernelPlan(tuple(kernel for kernel in kernels if kernel), dict(counts.most_common()))


def _all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Nodes of the graph and of the bodies of its If, Loop and Scan nodes."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _all_nodes(attribute.g)


def _read_matmul(
    node: onnx.NodeProto, dtypes: dict[str, str], constants: dict[str, onnx.TensorProto]
) -> MatmulKernel | None:
    if node.op_type in _INTEGER_OPERANDS:
        left, right, scale = _INTEGER_OPERANDS[node.op_type]
    elif node.op_type in _FLOAT_OPS:
        left, right, scale = 0, min(1, len(node.input) - 1), None
    else:
        return None
    a, b = node.input[left], node.input[right]
    inputs = (dtypes.get(a, "unknown"), dtypes.get(b, "unknown"))
    kind: Literal["integer", "float"] = "integer"
    if node.op_type in _FLOAT_OPS and not set(inputs) <= _INTEGER_DTYPES:  # MatMul of int32 is an integer kernel
        kind = "float"
    weight, pair_sum = "activation", None
    if b in constants:
        codes = numpy_helper.to_array(constants[b])
        weight = inputs[1]
        if inputs[1] in _INTEGER_DTYPES:
            scales = constants.get(node.input[scale]) if scale is not None else None
            if scales is not None:
                weight += " per-channel" if np.prod(scales.dims, dtype=np.int64) > 1 else " per-tensor"
            weight += f", codes {codes.min()}..{codes.max()}"
        if inputs == ("uint8", "int8") and codes.ndim == 2:
            transposed = any(item.name == "transB" and item.i for item in node.attribute)
            pair_sum = _pair_sum(codes.T if transposed else codes)
    return MatmulKernel(node.name or node.output[0], node.op_type, kind, inputs, weight, pair_sum)


def _pair_sum(codes: NDArray[np.int8]) -> int:
    """Largest |w[2i]| + |w[2i+1]| of (K, N) codes along K; an odd K leaves its last row alone."""
    size = np.abs(codes.astype(np.int32))
    pairs = np.add.reduceat(size, np.arange(0, size.shape[0], 2), axis=0)
    return int(pairs.max())

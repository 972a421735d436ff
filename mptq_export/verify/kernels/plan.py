"""Which kernel each matmul really runs as, read from onnxruntime's optimised graph."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx

from mptq_export.support.json_files import Json
from mptq_export.verify.graph import GraphReader
from mptq_export.verify.kernels.operands import FLOAT_OPS, INTEGER_OPERANDS
from mptq_export.verify.kernels.runtime_graph import RuntimeGraph, open_runtime_graph
from mptq_export.verify.kernels.saturation import PAIR_SUM_SAFE, largest_pair_sum

_INTEGER_DTYPES = {"int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"}

Kind = Literal["integer", "float"]
"""Whether a kernel multiplies integers or floats."""


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
    kind: Kind
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

    def to_json(self) -> dict[str, Json]:
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
    graph, nodes = GraphReader(runtime.model), list(_all_nodes(runtime.model.graph))
    kernels = [_read_matmul(node, runtime.dtypes, graph) for node in nodes]
    counts = Counter(node.op_type for node in nodes)
    return KernelPlan(tuple(kernel for kernel in kernels if kernel), dict(counts.most_common()))


def _all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Nodes of the graph and of the bodies of its If, Loop and Scan nodes."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _all_nodes(attribute.g)


def _read_matmul(node: onnx.NodeProto, dtypes: dict[str, str], graph: GraphReader) -> MatmulKernel | None:
    if node.op_type in INTEGER_OPERANDS:
        left, right, scale = INTEGER_OPERANDS[node.op_type]
    elif node.op_type in FLOAT_OPS:
        left, right, scale = 0, min(1, len(node.input) - 1), None
    else:
        return None
    a, b = node.input[left], node.input[right]
    inputs = (dtypes.get(a, "unknown"), dtypes.get(b, "unknown"))
    kind: Kind = "integer"
    if node.op_type in FLOAT_OPS and not set(inputs) <= _INTEGER_DTYPES:  # MatMul of int32 is an integer kernel
        kind = "float"
    weight, pair_sum = "activation", None
    codes = graph.constant(b)
    if codes is not None:
        weight = inputs[1]
        if inputs[1] in _INTEGER_DTYPES:
            scales = graph.constants.get(node.input[scale]) if scale is not None else None
            if scales is not None:
                weight += " per-channel" if np.prod(scales.dims, dtype=np.int64) > 1 else " per-tensor"
            weight += f", codes {codes.min()}..{codes.max()}"
        if inputs == ("uint8", "int8") and codes.ndim == 2:
            pair_sum = largest_pair_sum(node, codes)
    return MatmulKernel(
        name=node.name or node.output[0], op=node.op_type, kind=kind, inputs=inputs, weight=weight, pair_sum=pair_sum
    )

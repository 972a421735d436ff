"""Where the graph is quantized: one site for every operand that becomes an 8-bit code."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, get_args

from mptq_export.capture import ops
from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Movement, Op, Weighted
from mptq_export.capture.score_path import score_path


class SiteKind(StrEnum):
    """What becomes codes."""

    PIXELS = "pixels"
    LINEAR = "linear"  # what a linear layer or a depthwise convolution reads
    ACTIVATION = "activation"  # the argument of an activation function
    SCORES = "scores"  # what a softmax reads
    ATTENTION = "attention"  # what a softmax gives
    MATMUL = "matmul"
    RESULT = "result"  # of an activation function or a depthwise convolution, for readers that compute in float32
    TENSOR = "tensor"  # in the portable form: any value that is computed
    CONVERTED = "converted"  # in the portable form: a value for a reader that runs at another width

    @property
    def where_computed(self) -> bool:
        """Whether a value becomes codes where it is computed, not where it is read."""
        return self in (SiteKind.SCORES, SiteKind.RESULT, SiteKind.TENSOR)


Operand = Literal["input", "a", "b", "output"]
"""Which value of a node: its one input, the first or second factor of a matmul, or its result."""

_ReadsCodes = Weighted | ops.Activation | ops.Matmul

_IN_FLOAT = (
    ops.Input,
    ops.Constant,
    ops.LayerNorm,
    ops.Relu,
    ops.Add,
    ops.Mul,
    ops.Product,
    ops.Mean,
    ops.Max,
    ops.Resample,
    ops.Concat,
    ops.Pad,
    ops.Rotary,
    ops.ToPixels,
    ops.Outputs,
)

#: The operands of each op that become codes: all ops are here. What a softmax reads and gives has rules of its own, in
#: `sites`; the last ones compute in float, or move what they are given.
_OPERANDS: dict[type[Op], dict[Operand, SiteKind]] = {
    ops.PatchEmbed: {"input": SiteKind.PIXELS},
    ops.Linear: {"input": SiteKind.LINEAR},
    ops.Depthwise: {"input": SiteKind.LINEAR},
    ops.Activation: {"input": SiteKind.ACTIVATION},
    ops.Matmul: {"a": SiteKind.MATMUL, "b": SiteKind.MATMUL},
    ops.Softmax: {},
    **{op: {} for op in (*_IN_FLOAT, *get_args(Movement))},
}


@dataclass(frozen=True)
class Site:
    """One quantized operand.

    Attributes:
        key: `layer.operand` (an `Operand`), unique.
        node: the reader.
        value: name of the value that is quantized.
        kind: what the value is to its reader.
    """

    key: str
    node: Node
    value: str
    kind: SiteKind


def sites(graph: Graph) -> list[Site]:
    """All sites in graph order."""
    found: list[Site] = []
    for node in graph:
        if isinstance(node.op, ops.Softmax):
            found.append(Site(f"{node.name}.input", node, score_path(graph, node)[0].name, SiteKind.SCORES))
            if not feeds_matmuls(graph, node):
                found.append(Site(f"{node.name}.output", node, node.inputs[0], SiteKind.ATTENTION))
        for (operand, reads), value in zip(_OPERANDS[type(node.op)].items(), node.inputs, strict=False):
            of_softmax = operand == "a" and feeds_matmuls(graph, graph[value])
            kind = SiteKind.ATTENTION if of_softmax else reads
            found.append(Site(f"{node.name}.{operand}", node, value, kind))
        if (isinstance(node.op, ops.Activation) and _has_float_readers(graph, node)) or (
            isinstance(node.op, ops.Depthwise) and not _has_one_code_reader(graph, node)
        ):
            found.append(Site(f"{node.name}.output", node, node.name, SiteKind.RESULT))
    return found


def feeds_matmuls(graph: Graph, node: Node) -> bool:
    """Whether a node is a softmax that only matmuls read, as their left operand: they divide by its sum."""
    readers = graph.consumers()[node.name]
    direct = all(
        isinstance(r.op, ops.Matmul) and r.inputs[0] == node.name and r.inputs[1] != node.name for r in readers
    )
    return isinstance(node.op, ops.Softmax) and direct and node.name != graph.output


def _has_float_readers(graph: Graph, node: Node) -> bool:
    readers = graph.final_readers(node.name)
    return readers is None or any(not isinstance(reader.op, _ReadsCodes) for reader, _ in readers)


def readers_of_codes(graph: Graph, name: str) -> list[tuple[Node, str]] | None:
    """As `Graph.final_readers`, seen through ReLUs too: they only cut codes off below that of 0."""
    found: list[tuple[Node, str]] = []
    for reader, value in graph.final_readers(name) or ():
        behind = readers_of_codes(graph, reader.name) if isinstance(reader.op, ops.Relu) else [(reader, value)]
        if behind is None:
            return None
        found += behind
    return None if graph.final_readers(name) is None else found


def convolution_kernel(graph: Graph, node: Node) -> tuple[int, int] | None:
    """Height and width of the windows of a map that a linear layer reads, where all that read its result read codes."""
    windows, readers = graph[node.inputs[0]].op, readers_of_codes(graph, node.name)
    if not isinstance(node.op, ops.Linear) or not isinstance(windows, ops.Windows) or windows.kernel == (1, 1):
        return None
    return windows.kernel if readers and all(isinstance(r.op, _ReadsCodes) for r, _ in readers) else None


def _has_one_code_reader(graph: Graph, node: Node) -> bool:
    """Whether one operand alone reads a value, as codes: they can be those of the kernel that computes it."""
    readers = readers_of_codes(graph, node.name) or ()
    return len(readers) == 1 and all(
        isinstance(r.op, _ReadsCodes) and r.inputs.count(value) == 1 for r, value in readers
    )

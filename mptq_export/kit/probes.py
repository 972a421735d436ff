"""Which inner tensors a kit watches, and how they are asked for without a second copy of the model.

Probes are the code tensors (what every QuantizeLinear makes) and the tensors at block boundaries. The suffix rests on
protobuf's rule for merging: the bytes of two messages, one after the other, are one message in which repeated fields
are joined. So `model bytes + suffix bytes` is the same model, same weights included, with more graph outputs.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import onnx

_MATMULS = frozenset({"Conv", "Gemm", "MatMul"})
_BLOCK = re.compile(r"(?:.*\.)?\d+(?=\.)")


@dataclass(frozen=True)
class Probe:
    """One inner tensor.

    Attributes:
        name: the tensor's name.
        op: the op that makes it.
        block: module path of its block, such as ``blocks.3``; empty before the first and after the last block.
        boundary: whether the next block sees the blocks so far through this tensor alone.
    """

    name: str
    op: str
    block: str
    boundary: bool


def numbered_module(name: str) -> str:
    """Module path of the innermost numbered module that a tensor's name holds; empty if there is none."""
    match = _BLOCK.match(name)
    return match.group() if match else ""


def find_probes(model: onnx.ModelProto) -> list[Probe]:
    """All probes, in graph order: the first one that differs is where the runtime went wrong."""
    outputs = {entry.name for entry in model.graph.output}
    cuts = {node.output[0] for node in _cuts(model.graph)}
    probed = [
        node
        for node in model.graph.node
        if node.output[0] not in outputs and (node.op_type == "QuantizeLinear" or node.output[0] in cuts)
    ]
    # The cut after attention is inside the block; the last one of a block is its boundary.
    boundaries = {numbered_module(name): name for name in (node.output[0] for node in probed) if name in cuts}
    return [
        Probe(name, node.op_type, numbered_module(name), boundaries.get(numbered_module(name)) == name)
        for node in probed
        for name in node.output[:1]
    ]


def probe_suffix(probes: list[Probe]) -> bytes:
    """Bytes that turn a serialised model into one whose outputs are its own and then the probes, when appended.

    The outputs carry names only: every runtime infers their types.
    """
    more = onnx.ModelProto()
    more.graph.output.extend(onnx.ValueInfoProto(name=probe.name) for probe in probes)
    suffix: bytes = more.SerializeToString()
    return suffix


def _cuts(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Nodes behind a matmul whose one result is all that later nodes read of what was computed so far."""
    last_use = {name: i for i, node in enumerate(graph.node) for name in node.input}
    quantized = {node.input[0] for node in graph.node if node.op_type == "QuantizeLinear"}
    live = {entry.name for entry in graph.input}
    computed = set(live)
    matmul = False
    for i, node in enumerate(graph.node):
        if not computed.intersection(node.input):
            continue  # made of constants alone
        computed.update(node.output)
        matmul |= node.op_type in _MATMULS
        live = {name for name in live.union(node.output) if last_use.get(name, -1) > i}
        fused = node.op_type in _MATMULS and node.output[0] in quantized  # inside one kernel: not to be seen
        if matmul and live == {node.output[0]} and not fused:
            yield node
            matmul = False

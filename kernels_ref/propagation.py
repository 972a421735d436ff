"""Moves codes instead of floats, as a runtime does before it fuses anything.

    codes -> DequantizeLinear -> Transpose -> MatMul      codes -> Transpose -> DequantizeLinear -> MatMul
    MatMul -> Transpose -> QuantizeLinear                 MatMul -> QuantizeLinear -> Transpose

Element by element it is the same, but a matrix product beside a DequantizeLinear is one of integers.
"""

from dataclasses import replace

from kernels_ref.constants import Constants
from kernels_ref.model import Graph, Node
from kernels_ref.readers import Readers

#: Ops whose output holds elements of the first input, on one scale.
MOVES = frozenset({"MaxPool", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"})
_MARK = "\0"  # no name of an ONNX file holds it


def is_added(name: str) -> bool:
    """Whether a tensor is none of the file."""
    return _MARK in name


def propagate(graph: Graph, constants: Constants) -> tuple[Graph, tuple[Node, ...]]:
    """Codes in motion where floats were.

    Returns:
        The graph, and the nodes that moved floats and that nothing in it needs any more: for those who ask for what
        they made.
    """
    if not any(node.op in MOVES for node in graph.nodes):
        return graph, ()
    nodes, shadows = _quantize_first(graph, constants)
    nodes = _dequantize_last(replace(graph, nodes=nodes), constants)
    read = {*graph.outputs, *(name for node in nodes for name in node.inputs)}
    idle = tuple(node for node in nodes if node.op == "DequantizeLinear" and node.outputs[0] not in read)
    gone = {node.outputs[0] for node in idle}
    kept = tuple(node for node in nodes if not node.outputs or node.outputs[0] not in gone)
    return replace(graph, nodes=kept), (*idle, *shadows)


def _dequantize_last(graph: Graph, constants: Constants) -> tuple[Node, ...]:
    """DequantizeLinear after the moves instead of before them."""
    readers = Readers(graph, constants)
    moved: dict[str, Node] = {}  # what makes a tensor of moved floats: a DequantizeLinear
    nodes: list[Node] = []
    for node in graph.nodes:
        source = node.inputs[0] if node.inputs else ""
        dequantizer = moved.get(source, readers.producers.get(source))
        if (
            node.op not in MOVES
            or len(node.outputs) > 1
            or node.outputs[0] in constants
            or dequantizer is None
            or dequantizer.op != "DequantizeLinear"
            or readers.one_scale(dequantizer) is None
            or (source not in moved and readers.edges(source) != 1)
        ):
            nodes.append(node)
            continue
        output = node.outputs[0]
        codes = f"{output}{_MARK}codes"
        nodes.append(replace(node, inputs=(dequantizer.inputs[0], *node.inputs[1:]), outputs=(codes,)))
        moved[output] = replace(dequantizer, inputs=(codes, *dequantizer.inputs[1:]), outputs=(output,))
        nodes.append(moved[output])
    return tuple(nodes)


def _quantize_first(graph: Graph, constants: Constants) -> tuple[tuple[Node, ...], tuple[Node, ...]]:
    """QuantizeLinear before the moves instead of after them; the nodes, and those that are not needed any more."""
    readers = Readers(graph, constants)
    chains: dict[str, list[Node]] = {}
    for node in graph.nodes:
        if node.op == "QuantizeLinear" and node.outputs[0] not in constants and readers.one_scale(node) is not None:
            chain = _moves_before(node, readers)
            if chain:
                chains[node.outputs[0]] = chain
    shadows = {move.outputs[0] for chain in chains.values() for move in chain}
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.outputs and node.outputs[0] in shadows:
            continue
        chain = chains.get(node.outputs[0], []) if node.outputs else []
        if not chain:
            nodes.append(node)
            continue
        codes = f"{chain[0].inputs[0]}{_MARK}codes"
        nodes.append(replace(node, inputs=(chain[0].inputs[0], *node.inputs[1:]), outputs=(codes,)))
        for move in chain:
            output = node.outputs[0] if move is chain[-1] else f"{move.outputs[0]}{_MARK}codes"
            nodes.append(replace(move, inputs=(codes, *move.inputs[1:]), outputs=(output,)))
            codes = output
    return tuple(nodes), tuple(node for node in graph.nodes if node.outputs and node.outputs[0] in shadows)


def _moves_before(quantizer: Node, readers: Readers) -> list[Node]:
    """The moves between a QuantizeLinear and what it may be fused with, in their order."""
    chain: list[Node] = []
    name = quantizer.inputs[0]
    while readers.edges(name) == 1:
        move = readers.producers.get(name)
        if move is None or move.op not in MOVES or len(move.outputs) > 1 or readers.edges(move.inputs[0]) != 1:
            break
        source = readers.producers.get(move.inputs[0])
        if source is None or source.op == "DequantizeLinear":
            break
        chain.append(move)
        name = move.inputs[0]
    return chain[::-1]

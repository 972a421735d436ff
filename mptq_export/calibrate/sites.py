"""Where the graph is quantized: one site for every operand that becomes an 8-bit code."""

from dataclasses import dataclass

from mptq_export.capture.graph import MOVEMENT, Graph, Node

_OPERANDS = {
    "patch_embed": ("input",),
    "linear": ("input",),
    "depthwise": ("input",),
    "activation": ("input",),
    "matmul": ("a", "b"),
}


@dataclass(frozen=True)
class Site:
    """One quantized operand.

    Attributes:
        key: `layer.operand`, unique.
        node: the reader.
        value: name of the value that is quantized.
        kind: `pixels`, `linear` (depthwise convolutions too), `activation` (its argument), `scores`, `attention`
            (softmax codes), `matmul`, or `result` (of an activation function or a depthwise convolution, for readers
            that compute in float32).
    """

    key: str
    node: Node
    value: str
    kind: str


def sites(graph: Graph) -> list[Site]:
    """All sites in graph order."""
    found: list[Site] = []
    for node in graph:
        if node.op == "softmax":
            found.append(Site(f"{node.name}.input", node, score_path(graph, node)[0].name, "scores"))
            if not feeds_matmuls(graph, node):
                found.append(Site(f"{node.name}.output", node, node.inputs[0], "attention"))
        for operand, value in zip(_OPERANDS.get(node.op, ()), node.inputs, strict=False):
            kind = {"patch_embed": "pixels", "depthwise": "linear"}.get(node.op, node.op)
            if node.op == "matmul" and operand == "a" and feeds_matmuls(graph, graph[value]):
                kind = "attention"
            found.append(Site(f"{node.name}.{operand}", node, value, kind))
        if (node.op == "activation" and _has_float_readers(graph, node)) or (
            node.op == "depthwise" and not _has_one_code_reader(graph, node)
        ):
            found.append(Site(f"{node.name}.output", node, node.name, "result"))
    return found


def feeds_matmuls(graph: Graph, node: Node) -> bool:
    """Whether a node is a softmax that only matmuls read, as their left operand: they divide by its sum."""
    readers = graph.consumers()[node.name]
    direct = all(r.op == "matmul" and r.inputs[0] == node.name and r.inputs[1] != node.name for r in readers)
    return node.op == "softmax" and direct and node.name != graph.output


def _has_float_readers(graph: Graph, node: Node) -> bool:
    readers = graph.final_readers(node.name)
    return readers is None or any(reader.op not in _OPERANDS for reader, _ in readers)


def _has_one_code_reader(graph: Graph, node: Node) -> bool:
    """Whether one operand alone reads a value, as codes: they can be those of the kernel that computes it."""
    readers = graph.final_readers(node.name) or ()
    return len(readers) == 1 and all(r.op in _OPERANDS and r.inputs.count(value) == 1 for r, value in readers)


def score_path(graph: Graph, softmax: Node) -> tuple[Node, list[Node]]:
    """What computes the scores that a softmax reads, and the steps between them (constant additions and movement).

    That is a matmul, or what scales or mixes the scores of a matmul. Where something else reads it too (a softmax over
    tokens reads a part of a layer's output), the scores are the softmax's own input.
    """
    steps: list[Node] = []
    node = graph[softmax.inputs[0]]
    while node.op == "add" or node.op in MOVEMENT:
        live = [name for name in node.inputs if graph[name].op != "constant"]
        if len(live) != 1:
            break
        steps.insert(0, node)
        node = graph[live[0]]
    if node.op != "matmul" and len(graph.consumers()[node.name]) > 1:
        return graph[softmax.inputs[0]], []
    return node, steps

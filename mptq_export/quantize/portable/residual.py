"""The residual streams of a graph, whose codes have a width of their own."""

from mptq_export.capture import ops
from mptq_export.capture.graph import Graph, Node
from mptq_export.quantize.residual_grid import connected


def residual_values(graph: Graph) -> set[str]:
    """Names of all values of the residual streams: sums in which a value goes on that something else reads too.

    A stream is what sums, padding and data movement connect. A position bias on scores and a rotation are no such sums:
    one of their terms is a constant, or nothing else reads any of them.
    """
    member = connected(graph)
    wanted = {member[node.name] for node in graph if isinstance(node.op, ops.Add) and _goes_on(graph, node)}
    return {name for name, stream in member.items() if stream in wanted}


def begins(graph: Graph, node: Node, residual: set[str]) -> bool:
    """Whether a value is the first of a stream, and no branch: a sum reads it and something else does, too.

    A norm, a mean or a maximum may stand between.
    """
    readers = [reader for reader, _ in graph.final_readers(node.name) or ()]
    if any(isinstance(reader.op, ops.Add) and reader.name in residual for reader in readers):
        return len(readers) > 1
    unary = ops.LayerNorm | ops.Mean | ops.Max | ops.Mul
    return len(readers) == 1 and isinstance(readers[0].op, unary) and begins(graph, readers[0], residual)


def _goes_on(graph: Graph, node: Node) -> bool:
    """Whether a sum of two computed values has a term that something else reads, too."""
    roots = [graph.root(name) for name in node.inputs]
    if any(isinstance(root.op, ops.Constant) for root in roots):
        return False
    return any(len(graph.final_readers(root.name) or (None, None)) > 1 for root in roots)

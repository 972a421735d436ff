"""A bar that follows a walk, by what every node should take."""

from collections.abc import Callable

from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.size import size_of_node
from mptq_export.quantize.expected import walk_seconds
from mptq_export.quantize.method import Method
from mptq_export.support.progress import Bar


def following(graph: Graph, images: int, method: Method, bar: Bar, *, fits: bool = True) -> Callable[[Node], None]:
    """What a walk calls after every node, so that a bar advances by 1 in all.

    Args:
        graph: what is walked.
        images: how many go through.
        method: which techniques are used.
        bar: follows, and names the node.
        fits: as of `walk_seconds`.
    """
    seconds = {node.name: walk_seconds(size_of_node(graph, node), images, method, fits=fits) for node in graph}
    whole = sum(seconds.values()) or 1.0
    return lambda node: bar.advance(seconds.get(node.name, 0.0) / whole, node.name)

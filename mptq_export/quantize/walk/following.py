"""A bar that follows a walk, by what every node should take."""

from collections.abc import Callable, Collection, Mapping

from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Weighted
from mptq_export.capture.size import size_of_node
from mptq_export.quantize.expected import walk_seconds
from mptq_export.quantize.method import Method
from mptq_export.support.progress import Bar


def seconds_of_nodes(
    graph: Graph,
    images: int,
    method: Method,
    bits: Callable[[str], Collection[int]] | None = None,
    *,
    has_weight_regions: bool = True,
) -> dict[str, float]:
    """What every node should take, by its name.

    Args:
        graph: what is walked.
        images: how many go through.
        method: which techniques are used.
        bits: the widths that the weights of a layer are rounded at; None where none are fitted.
        has_weight_regions: of the form of the file.
    """

    def seconds(node: Node) -> float:
        rounded = bits(node.name) if bits is not None and isinstance(node.op, Weighted) else ()
        return walk_seconds(size_of_node(graph, node), images, method, rounded, has_weight_regions=has_weight_regions)

    return {node.name: seconds(node) for node in graph}


def following(seconds: Mapping[str, float], bar: Bar) -> Callable[[Node], None]:
    """What a walk calls after every node, so that a bar advances by 1 in all.

    Args:
        seconds: of the nodes, by name.
        bar: follows, and names the node.
    """
    whole = sum(seconds.values()) or 1.0
    return lambda node: bar.advance(seconds.get(node.name, 0.0) / whole, node.name)

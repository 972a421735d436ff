"""What decides the width of an activation: the layer that reads it, where that is a matmul; else it has 8 bits."""

from mptq_export.calibrate.sites import Site, SiteKind
from mptq_export.capture.graph import Graph
from mptq_export.capture.ops import Matmul, Softmax


def deciding_layer(graph: Graph, site: Site) -> str | None:
    """The layer whose activation width a site has; None where it is 8 bits anyway.

    Scores have the width of the attention codes that they become: it decides which of them matter.
    """
    if site.kind in (SiteKind.ACTIVATION, SiteKind.PIXELS, SiteKind.RESULT):
        return None
    if site.kind == SiteKind.ATTENTION and isinstance(site.node.op, Softmax):  # no matmul reads it
        return None
    if site.kind == SiteKind.SCORES:
        readers = graph.consumers()[site.node.name]
        return next((node.name for node in readers if isinstance(node.op, Matmul)), None)
    return site.node.name

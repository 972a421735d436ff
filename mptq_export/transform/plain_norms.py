"""Norms that a portable file leaves whole: layer norms with their mean, where that changes nothing.

`center_residual` takes the mean out of what writes a stream and marks its norms `centered`. Runtimes know a layer norm
as one node that subtracts the mean; of a stream without mean it gives the same.
"""

from dataclasses import replace

from mptq_export.capture.graph import Graph
from mptq_export.capture.ops import LayerNorm
from mptq_export.transform.center_residual import stream_of

#: How far a mean may be from 0, of the largest element of all that a layer writes with.
_TOLERANCE = 1e-5


def plain_norms(graph: Graph) -> Graph:
    """Make layer norms with a mean of all norms of streams that have none.

    Preserves: the output. An RMS norm that the model itself has stays one.
    """
    changes = {}
    for norm in graph:
        if not isinstance(norm.op, LayerNorm) or not norm.op.centered:
            continue
        stream = stream_of(graph, norm.inputs[0], graph.consumers())
        if stream is not None and all(_has_no_mean(graph, name) for name in stream[0]):
            changes[norm.name] = replace(norm, op=replace(norm.op, centered=False))
    return graph.updated(changes)


def _has_no_mean(graph: Graph, writer: str) -> bool:
    """Whether what a writer adds to a stream has mean zero over the channels."""
    params = graph[writer].params
    tensors = [params["value"].transpose(0, -1)] if "value" in params else [params["weight"], params["bias"]]
    largest = max(float(tensor.abs().max()) for tensor in tensors)
    return all(float(tensor.double().mean(0).abs().max()) <= _TOLERANCE * largest for tensor in tensors)

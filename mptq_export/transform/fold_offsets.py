"""Constant offsets go into the bias of the layer that they are added to: what is left of a batch norm."""

from dataclasses import replace

from mptq_export.capture.graph import Graph
from mptq_export.capture.ops import Add, Constant, Windows
from mptq_export.transform.channels import owned_layer, per_channel


def fold_offsets(graph: Graph) -> Graph:
    """Remove every addition of one number a channel to the result of a linear layer or patch embedding.

    Preserves: the output.
    """
    for name in list(graph.nodes):
        node = graph[name]
        constants = [graph[n] for n in node.inputs if isinstance(graph[n].op, Constant)]
        live = [n for n in node.inputs if not isinstance(graph[n].op, Constant)]
        if not isinstance(node.op, Add) or len(live) != 1 or [r.name for r in graph.consumers()[live[0]]] != [name]:
            continue
        layer = owned_layer(graph, live[0])
        if layer is None or any(isinstance(step.op, Windows) for step in graph.path(live[0])[1]):
            continue  # the zeros around windows would not have the offset
        column = per_channel(graph, live[0], constants[0].params["value"])
        if column is not None:
            params = {**layer.params, "bias": layer.params["bias"] + column}
            graph = graph.updated({layer.name: replace(layer, params=params)}).bypassed({name: live[0]})
    return graph

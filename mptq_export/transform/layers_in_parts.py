"""A linear layer whose result is cut into parts, as a layer for each part: query, key and value of one weight.

RKNN-Toolkit2 moves the cut into the weight, and there loses which scale belongs to which channel, without a word.
"""

from dataclasses import replace
from math import prod

from mptq_export.capture.graph import Graph, Node, Shape
from mptq_export.capture.ops import Linear, Reshape, Slice


def layers_in_parts(graph: Graph) -> Graph:
    """Write every linear layer of which only parts are read as a layer a part.

    Preserves: the output. Each part has codes of its own.
    """
    for layer in [node for node in graph if isinstance(node.op, Linear)]:
        cuts = _cuts(graph, layer)
        ranges = sorted(set(cuts.values()))
        if len(ranges) > 1:
            parts = {each: _part(layer, *each) for each in ranges}
            changes = {
                name: replace(graph[name], op=Reshape(), inputs=(parts[channels].name,))
                for name, channels in cuts.items()
            }
            graph = graph.updated(changes).expanded({layer.name: [*parts.values(), layer]})
    return graph.pruned()


def _cuts(graph: Graph, layer: Node) -> dict[str, tuple[int, int]]:
    """The channels that each slice of a layer takes; none where anything else reads the layer."""
    consumers, width = graph.consumers(), layer.shape.dims[-1]
    cuts: dict[str, tuple[int, int]] = {}
    for reader in consumers[layer.name]:
        if isinstance(reader.op, Reshape):
            cut, slices = reader, consumers[reader.name]
        else:
            cut, slices = layer, [reader]
        for node in slices:
            if not isinstance(node.op, Slice) or prod(cut.shape.dims[node.op.axis :]) != width:
                return {}
            step = prod(cut.shape.dims[node.op.axis + 1 :])
            cuts[node.name] = (node.op.start * step, node.op.end * step)
        if not slices or graph.output in (layer.name, cut.name):
            return {}
    return cuts


def _part(layer: Node, low: int, high: int) -> Node:
    shape = Shape((*layer.shape.dims[:-1], high - low), layer.shape.batch_axis)
    params = {name: value[low:high] for name, value in layer.params.items()}
    return replace(layer, name=f"{layer.name}.{low}_{high}", shape=shape, params=params)

"""Layer norm without its mean.

A layer norm does not see the mean of its input over the channels, so that mean can be removed by what writes the
input: `W' = (I - 11^T / D) W`, `b' = b - mean(b)`. Where every writer of a residual stream is a linear layer or a
constant and every reader is a layer norm, the stream then has mean zero and the norm is an RMS norm: two passes over
memory less for every norm.
"""

from dataclasses import replace

import torch

from mptq_export.capture.evaluate import compute
from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Add, Constant, LayerNorm, Linear, Mean, Movement, Pad, PatchEmbed

_LinearInChannels = Add | Pad | Mean | Movement


def center_residual(graph: Graph) -> Graph:
    """Centre the writers of every stream that only layer norms read, and mark those norms `centered`.

    Preserves: the output. A stream with another kind of writer or reader is left as it is.
    """
    readers = graph.consumers()
    for norm in list(graph):
        if not isinstance(norm.op, LayerNorm) or graph[norm.name].attributes(LayerNorm).centered:
            continue
        stream = stream_of(graph, norm.inputs[0], readers)
        if stream is None:
            continue
        writers, norms = stream
        changes = {name: replace(graph[name], params=_centered(graph[name])) for name in writers}
        for name in norms:
            changes[name] = replace(graph[name], op=replace(graph[name].attributes(LayerNorm), centered=True))
        graph = graph.updated(changes)
    return graph


def stream_of(graph: Graph, value: str, readers: dict[str, list[Node]]) -> tuple[set[str], set[str]] | None:
    """Writers and norms of the stream that `value` belongs to, or None where it cannot be centred.

    Args:
        graph: any canonical graph.
        value: a value of the stream.
        readers: `graph.consumers()`.
    """
    writers: set[str] = set()
    norms: set[str] = set()
    seen: set[str] = set()
    pending = [value]
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        node = graph[name]
        if isinstance(node.op, _LinearInChannels):
            if not _keeps_channels(graph, node, readers[name]):
                return None
            pending += node.inputs
        elif isinstance(node.op, Linear | PatchEmbed) or (
            isinstance(node.op, Constant) and node.shape.dims[-1:] != (1,)
        ):
            writers.add(name)
        else:
            return None
        if name == graph.output:
            return None
        for reader in readers[name]:
            if isinstance(reader.op, LayerNorm):
                norms.add(reader.name)
            elif isinstance(reader.op, _LinearInChannels):
                pending.append(reader.name)
            else:
                return None
    return writers, norms


def _keeps_channels(graph: Graph, node: Node, readers: list[Node]) -> bool:
    """Whether the last axis of the result is the last axis of its source, so that both have the same means.

    Within a chain of movement channels may be merged with other axes; only its end is read and has to keep them. A
    patch merging does not: its norm removes the mean of four tokens together, not that of each.
    """
    if isinstance(node.op, Mean) and len(graph[node.inputs[0]].shape.dims) - 1 in node.op.axes:
        return False
    if not isinstance(node.op, Movement):
        return all(graph[n].shape.dims[-1:] == node.shape.dims[-1:] for n in node.inputs)  # a number has no axis
    if all(isinstance(reader.op, Movement) for reader in readers):
        return True
    chain: list[Node] = []
    source = node
    while isinstance(source.op, Movement):
        chain.insert(0, source)
        source = graph[source.inputs[0]]
    width = source.shape.dims[-1]
    if node.shape.dims[-1] != width or source.shape.batch_axis is None:
        return False
    channel = torch.arange(width).expand(source.shape.at(1)).contiguous()
    for step in chain:
        channel = compute(step, [channel])
    return torch.equal(channel, torch.arange(width).expand_as(channel))


def _centered(node: Node) -> dict[str, torch.Tensor]:
    if isinstance(node.op, Constant):
        value = node.params["value"].double()
        return {"value": (value - value.mean(-1, keepdim=True)).float()}
    weight, bias = node.params["weight"].double(), node.params["bias"].double()
    return {"weight": (weight - weight.mean(0)).float(), "bias": (bias - bias.mean()).float()}

"""Rotate the residual: outlier channels are spread over all of them, so that one scale serves them all.

For an orthogonal Q with `Q 1 = 1` (1: all ones) a layer norm without gain and offset commutes with the rotation,
`LN(Q r) = Q LN(r)`, because Q keeps the mean and the length of r. So gains and offsets go into the layers that read a
norm, `W diag(g)` and `b + W beta`; what writes the stream is turned, `Q W`, `Q b`; what reads it is turned back,
`W Q^T`. Where a norm reads several tokens side by side (patch merging), Q stands once for each. Rotations of RMS norms
are those of QuaRot (arXiv 2404.00456); the all-ones vector is what a mean asks for.
"""

from dataclasses import dataclass, replace

import torch

from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Add, Concat, Constant, LayerNorm, Linear, Mean, Pad, PatchEmbed, Resample, Windows
from mptq_export.transform.channels import channel_numbers, constant_along

#: What joins, cuts or averages tokens, channel by channel.
_Channelwise = Add | Concat | Pad | Mean | Resample

#: What gives values of a stream from something else.
_Writer = Linear | PatchEmbed | Constant


@dataclass(frozen=True)
class Stream:
    """A residual stream that can be rotated.

    Attributes:
        width: channels.
        writers: names of the layers and constants that write it.
        norms: names of the norms that read it.
        layers: names of the linear layers that read it, or one of its norms.
    """

    width: int
    writers: tuple[str, ...]
    norms: tuple[str, ...]
    layers: tuple[str, ...]


def streams(graph: Graph) -> list[Stream]:
    """All streams that can be rotated and have a norm, in graph order."""
    found: list[Stream] = []
    seen: set[str] = set()
    for node in graph:
        if isinstance(node.op, LayerNorm) and node.name not in seen:
            stream = _stream_of(graph, node)
            if stream is not None:
                found.append(stream)
                seen.update(stream.norms)
    return found


def rotate_residual(graph: Graph, stream: Stream, turn: torch.Tensor) -> Graph:
    """Rotate one stream.

    Args:
        graph: any canonical graph.
        stream: one of `streams`.
        turn: Q, float64 [width, width], orthogonal with row sums of 1.

    Preserves: the output. What is changed is float64.
    """
    graph = _without_gains(graph, stream)
    changes: dict[str, Node] = {}
    for name in stream.writers:
        params = {key: _turned(key, value.double(), turn) for key, value in graph[name].params.items()}
        changes[name] = replace(graph[name], params=params)
    for name in stream.layers:
        params = changes.get(name, graph[name]).params
        weight = params["weight"].double()
        turned = (weight.reshape(len(weight), -1, stream.width) @ turn.to(weight).T).reshape(weight.shape)
        changes[name] = replace(graph[name], params={**params, "weight": turned})
    return graph.updated(changes)


def _turned(key: str, value: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """A constant with its channels last, or a weight or bias with its output channels first, rotated."""
    turn = turn.to(value)
    return value @ turn.T if key == "value" else torch.tensordot(turn, value, 1)


def _without_gains(graph: Graph, stream: Stream) -> Graph:
    """The same function with neither gain nor offset in the norms of a stream."""
    for name in stream.norms:
        norm = graph[name]
        if not norm.params:
            continue
        gain, offset = norm.params["weight"].double(), norm.params["bias"].double()
        params = {"weight": torch.ones_like(gain), "bias": torch.zeros_like(offset)}
        changes = {name: replace(norm, params=params)}
        for layer in _layers_behind(graph, norm) or ():
            weight, bias = layer.params["weight"].double(), layer.params["bias"].double()
            blocks = weight.reshape(len(weight), -1, len(gain))
            folded = {"weight": (blocks * gain).reshape(weight.shape), "bias": bias + (blocks @ offset).sum(1)}
            changes[layer.name] = replace(layer, params=folded)
        graph = graph.updated(changes)
    return graph


def _stream_of(graph: Graph, norm: Node) -> Stream | None:
    """The stream that a norm reads; None where anything reads or writes it that cannot be rotated."""
    width = graph.root(norm.inputs[0]).shape.dims[-1]
    writers: dict[str, None] = {}
    norms: dict[str, None] = {}
    layers: dict[str, None] = {}
    seen: set[str] = set()
    pending = [graph.root(norm.inputs[0]).name]
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        node = graph[name]
        if node.shape.dims[-1:] != (width,):
            return None
        if isinstance(node.op, _Writer):
            writers[name] = None
        elif isinstance(node.op, _Channelwise) and not _joins_channels(node):
            pending += [graph.root(value).name for value in node.inputs]
        else:
            return None
        readers = graph.final_readers(name)
        for reader, value in readers if readers is not None else [(node, "")]:
            blocks = _blocks(graph, value, width) if value else 0
            behind = _layers_behind(graph, reader) if isinstance(reader.op, LayerNorm) else None
            if blocks and behind is not None:
                norms[reader.name] = None
                layers |= {layer.name: None for layer in behind}
            elif blocks and isinstance(reader.op, Linear):
                layers[reader.name] = None
            elif blocks == 1 and isinstance(reader.op, _Channelwise) and not _joins_channels(reader):
                pending.append(reader.name)
            else:
                return None
    return Stream(width, *(tuple(names) for names in (writers, norms, layers)))


def _layers_behind(graph: Graph, norm: Node) -> list[Node] | None:
    """The linear layers that read a norm, means of it among what they read; None where anything else does."""
    found: dict[str, Node] = {}
    pending = [norm]
    while pending:
        source = pending.pop()
        readers = graph.final_readers(source.name)
        if readers is None:
            return None
        for reader, value in readers:
            blocks = _blocks(graph, value, source.shape.dims[-1])
            if blocks == 1 and isinstance(reader.op, Mean) and not _joins_channels(reader):
                pending.append(reader)
            elif blocks and isinstance(reader.op, Linear) and not _pads(graph, value):
                found[reader.name] = reader
            else:
                return None
    return list(found.values())


def _blocks(graph: Graph, value: str, width: int) -> int:
    """How often all channels stand side by side, in order, in the last axis of a value; 0 where they do not."""
    order = constant_along(channel_numbers(graph, value), -1)
    if order is None or len(order) % width:
        return 0
    repeated = torch.arange(width).repeat(len(order) // width)
    return len(order) // width if torch.equal(order, repeated) else 0


def _pads(graph: Graph, value: str) -> bool:
    """Whether zeros stand around windows on the way to a value: an offset would change them."""
    return any(isinstance(step.op, Windows) and any(step.op.pads) for step in graph.path(value)[1])


def _joins_channels(node: Node) -> bool:
    """Whether an op works along the channels."""
    last = len(node.shape.dims) - 1
    match node.op:
        case Mean(axes, keepdim):
            return (last if keepdim else last + len(axes)) in axes
        case Concat(axis) | Pad(axis) | Resample(axis):
            return axis == last
    return False

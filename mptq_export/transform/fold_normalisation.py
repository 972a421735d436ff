"""Pixels instead of normalised values enter the patch embedding.

`W ((p / 255 - mean) / std) + b = (W / (255 std)) p + (b - W mean / std)`. A pixel has 256 values, so its code is
exact: the first layer has no input quantization error, whether the file takes raw pixels or normalised floats.
"""

from dataclasses import replace

import torch

from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import PatchEmbed, ToPixels


def fold_normalisation(graph: Graph, mean: tuple[float, ...], std: tuple[float, ...]) -> Graph:
    """Put `to_pixels` behind the input and fold its inverse into every patch embedding that reads the input.

    Args:
        graph: canonical graph whose input is normalised NCHW float32.
        mean: one a channel, of pixels scaled to [0, 1].
        std: one a channel.

    Preserves: the output. The graph is returned unchanged where something else reads the input.
    """
    source = graph.input
    readers = graph.consumers()[source.name]
    if any(not isinstance(reader.op, PatchEmbed) for reader in readers):
        return graph
    gain, offset = 255 * torch.tensor(std, dtype=torch.float64), 255 * torch.tensor(mean, dtype=torch.float64)
    to_pixels = ToPixels(tuple(gain.tolist()), tuple(offset.tolist()))
    pixels = Node(to_pixels, "pixels", (source.name,), source.shape)
    changes = {}
    for node in readers:
        weight = node.params["weight"].double() / gain.reshape(-1, 1, 1)
        bias = node.params["bias"].double() - (weight * offset.reshape(-1, 1, 1)).sum((1, 2, 3))
        params = {"weight": weight.float(), "bias": bias.float()}
        changes[node.name] = replace(node, inputs=(pixels.name,), params=params)
    nodes: list[Node] = []
    for node in graph:
        nodes.append(changes.get(node.name, node))
        if node.name == source.name:
            nodes.append(pixels)
    return Graph(nodes, graph.output)

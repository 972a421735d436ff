"""What the first layer of a portable file reads: the normalised input itself, or pixels around a code.

`fold_normalisation` gives it pixels, which the exact form cuts out of either input without loss. A portable file has
one scale for all of its input, so floats enter as they are: `W p + b` with `p = gain x + offset` is
`(W gain) x + (b + W offset)` again. Raw pixels stay, less 128 where codes are signed.
"""

from dataclasses import replace

import torch

from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import PatchEmbed, ToPixels
from mptq_export.recipe.settings import InputType


def pixel_input(graph: Graph, input_type: InputType, *, middle: int) -> Graph:
    """Give the first layers what a portable file reads.

    Args:
        graph: prepared canonical graph.
        input_type: `float32` or `uint8`.
        middle: the pixel that becomes 0.

    Preserves: the output. A graph whose input is no pixels is returned unchanged.
    """
    pixels = next((node for node in graph if isinstance(node.op, ToPixels)), None)
    if pixels is None:
        return graph
    op = pixels.attributes(ToPixels)
    gain, offset = (torch.tensor(part, dtype=torch.float64) for part in (op.gain, op.offset))
    readers = graph.consumers()[pixels.name]
    if input_type == "uint8":
        shift = torch.full_like(offset, float(middle))
        changes = {node.name: _refolded(node, torch.ones_like(gain), shift) for node in readers}
        moved = tuple(value - middle for value in op.offset)
        return graph.updated({**changes, pixels.name: replace(pixels, op=ToPixels(op.gain, moved))})
    changes = {node.name: _refolded(node, gain, offset) for node in readers}
    return graph.updated(changes).bypassed({pixels.name: pixels.inputs[0]})


def _refolded(node: Node, gain: torch.Tensor, offset: torch.Tensor) -> Node:
    """The layer of `x` that gives what it gave of `gain x + offset`, one of each a channel."""
    assert isinstance(node.op, PatchEmbed), node.name  # `fold_normalisation` says so
    weight, bias = node.params["weight"].double(), node.params["bias"].double()
    gain, offset = (part.to(weight.device).reshape(-1, 1, 1) for part in (gain, offset))
    params = {"weight": (weight * gain).float(), "bias": (bias + (weight * offset).sum((1, 2, 3))).float()}
    return replace(node, params=params)

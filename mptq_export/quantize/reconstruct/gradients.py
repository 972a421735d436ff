"""Gradients of what the model's outputs lose, with respect to a block's output, everything behind it being float."""

from collections.abc import Sequence

import torch

from mptq_export.capture.blocks import Block
from mptq_export.capture.evaluate import computed_in
from mptq_export.capture.graph import Graph
from mptq_export.quantize.objective.divergence import divergence

_COMPUTE = computed_in(torch.float32)


def single_output(graph: Graph) -> bool:
    """Whether the last of a graph's blocks gives all that the model gives, so that blocks alone tell what is lost."""
    return len(graph.outputs) == 1


def lost(graph: Graph, exact: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    """The divergence of the only output: [images], from values as the last block gives them."""
    if graph.joined:
        exact, found = exact.flatten(1), found.flatten(1)
    return divergence(graph, exact, found)


def gradients_at(
    graph: Graph, behind: Sequence[Block], value: torch.Tensor, output: torch.Tensor, at_once: int
) -> torch.Tensor:
    """The gradient of every image's divergence at a value.

    Args:
        graph: with one output.
        behind: the blocks behind the value, computed in float32.
        value: float32, what the quantized model so far gives there.
        output: what the float model gives in the end, for the same images.
        at_once: images that are computed at once.

    Returns:
        float32, as the value.
    """
    found, rows = [], len(value) // len(output)
    for some, exact in zip(torch.split(value, at_once * rows), torch.split(output, at_once), strict=True):
        with torch.enable_grad():
            start = some.detach().clone().requires_grad_()
            last = start
            for block in behind:
                last = block.run(last, _COMPUTE)
            (gradient,) = torch.autograd.grad(lost(graph, exact, last).sum(), start)
        found.append(gradient)
    return torch.cat(found)

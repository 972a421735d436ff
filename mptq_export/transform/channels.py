"""Which channel of which linear layer every element of a value is."""

import torch

from mptq_export.capture.evaluate import compute
from mptq_export.capture.graph import Graph


def channel_numbers(graph: Graph, value: str) -> torch.Tensor:
    """Channel number (last axis of the computing node) of every element of `value`.

    Returns:
        int64, the shape of `value` for one image.
    """
    root, chain = graph.path(value)
    index = torch.arange(root.shape.dims[-1]).expand(root.shape.at(1)).contiguous()
    for step in chain:
        index = compute(step, [index])
    return index


def constant_along(index: torch.Tensor, axis: int) -> torch.Tensor | None:
    """The numbers along `axis` where all other positions agree, else None: int64 [index.shape[axis]]."""
    rows = index.movedim(axis, -1).reshape(-1, index.shape[axis])
    return rows[0] if bool((rows == rows[0]).all()) else None

"""Which channel of which linear layer every element of a value is."""

from collections.abc import Sequence
from typing import Any

import torch

from mptq_export.capture.evaluate import compute
from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Weighted, Windows

#: Images that movement is followed with: more than one, as it may mix them.
_IMAGES = 2


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


def owned(graph: Graph, value: str, kind: Any) -> Node | None:
    """The node of a kind of op whose result, moved or not, is `value`, if nothing between is read twice."""
    root, chain = graph.path(value)
    readers = graph.consumers()
    single = all(len(readers[before.name]) == 1 for before in [root, *chain][:-1])
    return root if single and isinstance(root.op, kind) else None


def owned_layer(graph: Graph, value: str) -> Node | None:
    """The layer with weights whose result is `value`, as `owned` finds it."""
    return owned(graph, value, Weighted)


def per_channel(graph: Graph, value: str, constant: torch.Tensor) -> torch.Tensor | None:
    """A constant that meets `value` element by element, as one number for each channel of the computing node.

    Args:
        graph: the graph.
        value: a value, moved from its computing node or not.
        constant: broadcasts against `value`.

    Returns:
        float32 [D], in the order of the channels; None where two elements of a channel meet different numbers.
    """
    width = graph.root(value).shape.dims[-1]
    if constant.numel() == 1:
        return constant.reshape(1).expand(width)
    index = channel_numbers(graph, value)
    sizes = zip(reversed(constant.shape), reversed(index.shape), strict=False)
    if constant.dim() > index.dim() or any(own not in (1, size) for own, size in sizes):
        return None
    met = constant.expand(index.shape)
    found = torch.zeros(width)
    found[index.flatten()] = met.flatten()
    return found if torch.equal(found[index], met) else None


def constant_along(index: torch.Tensor, axis: int) -> torch.Tensor | None:
    """The numbers along `axis` where all other positions agree, else None: int64 [index.shape[axis]]."""
    rows = index.movedim(axis, -1).reshape(-1, index.shape[axis])
    return rows[0] if bool((rows == rows[0]).all()) else None


def is_permutation(steps: Sequence[Node], before: Node, perm: Sequence[int]) -> bool:
    """Whether data movement is one permutation of the axes of a value.

    Args:
        steps: movement nodes, in order.
        before: what computes the value that they move; images are its first axis.
        perm: the permutation.
    """
    sizes = before.shape.at(_IMAGES)
    if len(sizes) != len(perm) or before.shape.batch_axis != 0 or any(isinstance(s.op, Windows) for s in steps):
        return False
    index = torch.arange(torch.Size(sizes).numel()).reshape(sizes)
    expected = index.permute(*perm)
    for step in steps:
        index = compute(step, [index])
    return torch.equal(index, expected)

"""Sums of whole numbers: the same bits on every CPU, because no sum is ever rounded, whatever its order.

float32 holds whole numbers up to 2^24, float64 up to 2^53. What a layer accumulates is a sum of products of codes; its
worst case says which of the two is enough.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention

from mptq_export.capture.graph import Node
from mptq_export.capture.ops import LayerNorm, Mean

#: Whole numbers up to here are float32 numbers.
_FLOAT32_INTEGER = 2.0**24

#: Elements that are copied to float64 at once.
_CHUNK = 1 << 22

WeightProduct = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Accumulators from whole input steps, weight codes and whole bias steps."""


def integer_product(
    steps: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, largest: float, product: WeightProduct = F.linear
) -> torch.Tensor:
    """What a layer accumulates, exact before its one rounding to float32.

    Args:
        steps: float32 [images, ..., K], whole numbers.
        weight: float32 [N, K], whole numbers.
        bias: float64 [N], whole numbers.
        largest: magnitude of the largest step.
        product: what the layer does with its weights.
    """
    bound = (weight.detach().abs().sum(1) * largest + bias.detach().abs()).amax()
    if float(bound) < _FLOAT32_INTEGER:
        return product(steps, weight, bias.float())
    wide = weight.double()
    chunks = torch.split(steps, max(1, _CHUNK // max(1, steps[:1].numel())))
    return torch.cat([product(some.double(), wide, bias).float() for some in chunks])


def integer_matmul(a: torch.Tensor, b: torch.Tensor, bound: float) -> torch.Tensor:
    """`a @ b` of whole numbers, exact before its one rounding to float32.

    Args:
        a: float32 [..., M, K].
        b: float32 [..., K, N].
        bound: largest magnitude of a sum.
    """
    if bound < _FLOAT32_INTEGER:
        return a @ b
    pairs = zip(torch.split(a, 1), torch.split(b, 1), strict=True) if len(a) == len(b) else ((a, b),)
    return torch.cat([(x.double() @ y.double()).float() for x, y in pairs])


def grid_norm(node: Node, x: torch.Tensor, exponent: int) -> torch.Tensor:
    """A layer norm of whole multiples of a power of two, step by step as in the file (`emit/exact/layer_norm.py`).

    Args:
        node: the layer norm, its tensors in float32.
        x: float32 [..., D].
        exponent: x is whole in units of 2 ** -exponent.
    """
    width, rows = x.shape[-1], x.reshape(-1, x.shape[-1])
    norm = node.attributes(LayerNorm)
    chunks, eps = torch.split(rows, max(1, _CHUNK // width)), width * norm.eps * 4.0**exponent
    unit = torch.cat([_normed(some * 2.0**exponent, eps, norm.centered) for some in chunks]).reshape(x.shape)
    if norm.plain:
        return unit * math.sqrt(width)
    return unit * (node.params["weight"].double() * math.sqrt(width)).float() + node.params["bias"]


def _normed(rows: torch.Tensor, eps: float, centred: bool) -> torch.Tensor:
    """Whole numbers without their mean (where it is not zero anyway), by the root of their sum of squares."""
    if centred:  # the file squares in float32
        total = rows.square().sum(-1, keepdim=True, dtype=torch.float64)
    else:
        wide, reciprocal = rows.double(), 1.0 / rows.shape[-1]
        summed = wide.sum(-1, keepdim=True)
        mean = summed * reciprocal
        whole = mean.round()
        rest = summed - whole * rows.shape[-1]
        total = (wide.square().sum(-1, keepdim=True) - whole * (summed + rest)) - rest * (rest * reciprocal)
        rows = rows - mean.float()
    return rows / (total + eps).sqrt().float()


def grid_mean(node: Node, x: torch.Tensor) -> torch.Tensor:
    """A mean of whole multiples of a power of two: float32, any shape."""
    mean_over = node.attributes(Mean)
    axes, keep = mean_over.axes, mean_over.keepdim
    count = math.prod(x.shape[axis] for axis in axes)
    mean: torch.Tensor = x.sum(axes, keepdim=keep, dtype=torch.float64).float() * (1.0 / count)
    return mean

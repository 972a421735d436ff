"""How far the quantized model's outputs are from the float model's: one number per image, and its second derivative.

Logits: the KL divergence of their softmax. Any other output: its squared error by the sum of its squares, so that it
counts by its signal to noise ratio, whatever its size. Of several outputs the mean.
"""

import torch

from mptq_export.capture.graph import Graph
from mptq_export.recipe.outputs import OutputKind

#: An output of zeros has no relative error.
_SMALLEST = 1e-20


def divergence(graph: Graph, exact: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    """What `found` lacks.

    Args:
        graph: the graph of both.
        exact: output of the float model, [B, values].
        found: the quantized model's.

    Returns:
        float64 [B], 0 or more: nats for logits, a ratio of squares for others.
    """
    trios = zip(graph.given, graph.parts(exact.double()), graph.parts(found.double()), strict=True)
    each = [_divergence(output.kind, a, b) for output, a, b in trios]
    return torch.stack(each).mean(0) if graph.joined else each[0]


def hessian_draw(graph: Graph, output: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A random vector for every image, its covariance the Hessian of the divergence at the float model's output.

    Of n outputs that is a block each: `(diag(p) - p p^T) / n` for logits, and `2 / (n |x|^2)` on the diagonal for any
    other output x.
    """
    output = output.detach()
    noise = torch.randn(output.shape, generator=generator, dtype=torch.float64).to(output)
    trios = zip(graph.given, graph.parts(output), graph.parts(noise), strict=True)
    draws = [_draw(each.kind, x, z, len(graph.given)) for each, x, z in trios]
    return torch.cat(draws, 1) if graph.joined else draws[0]


def _divergence(kind: OutputKind, exact: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    if kind == "logits":
        exact, found = exact.log_softmax(-1), found.log_softmax(-1)
        return (exact.exp() * (exact - found)).sum(-1)
    return (found - exact).square().sum(1) / _square(exact)[:, 0]


def _draw(kind: OutputKind, exact: torch.Tensor, noise: torch.Tensor, count: int) -> torch.Tensor:
    """A draw for one of `count` outputs, from standard normal noise."""
    if kind == "logits":
        probability = exact.softmax(-1)
        scaled = (probability / count).sqrt() * noise
        return scaled - probability * scaled.sum(-1, keepdim=True)
    return noise * (2 / (count * _square(exact))).sqrt()


def _square(x: torch.Tensor) -> torch.Tensor:
    return x.square().sum(1, keepdim=True).clamp_min(_SMALLEST)

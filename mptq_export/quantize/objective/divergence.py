"""How far the quantized model's outputs are from the float model's: one number per image, and its second derivative.

Logits: the KL divergence of their softmax. Feature maps: the squared error of a map by the sum of its squares, the mean
over all maps: so a map counts by its signal to noise ratio, whatever its size.
"""

import torch

from mptq_export.capture.graph import Graph

#: A map of zeros has no relative error.
_SMALLEST = 1e-20


def divergence(graph: Graph, exact: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    """What `found` lacks.

    Args:
        graph: the graph of both.
        exact: output of the float model, [B, values].
        found: the quantized model's.

    Returns:
        float64 [B], 0 or more: nats for logits, a ratio of squares for feature maps.
    """
    exact, found = exact.double(), found.double()
    if not graph.maps:
        exact, found = exact.log_softmax(-1), found.log_softmax(-1)
        return (exact.exp() * (exact - found)).sum(-1)
    pairs = zip(graph.parts(exact), graph.parts(found), strict=True)
    return torch.stack([(b - a).square().sum(1) / _square(a)[:, 0] for a, b in pairs]).mean(0)


def hessian_draw(graph: Graph, output: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A random vector for every image, its covariance the Hessian of the divergence at the float model's output.

    That is `diag(p) - p p^T` for logits, and `2 / (maps |x|^2)` on the diagonal for every map x.
    """
    output = output.detach()
    noise = torch.randn(output.shape, generator=generator, dtype=torch.float64).to(output)
    if not graph.maps:
        probability = output.softmax(-1)
        scaled = probability.sqrt() * noise
        return scaled - probability * scaled.sum(-1, keepdim=True)
    maps = graph.parts(output)
    draws = [z * (2 / (len(maps) * _square(x))).sqrt() for x, z in zip(maps, graph.parts(noise), strict=True)]
    return torch.cat(draws, 1)


def _square(x: torch.Tensor) -> torch.Tensor:
    return x.square().sum(1, keepdim=True).clamp_min(_SMALLEST)

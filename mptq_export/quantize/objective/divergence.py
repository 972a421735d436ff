"""How far the quantized model's outputs are from the float model's: one number per image, and its second derivative.

Logits: the KL divergence of their softmax. Embeddings: 1 - cosine. Any other output: its squared error by the sum of
its squares. A metric that is asked for takes their place for all outputs. Of several outputs the mean.
"""

import torch

from mptq_export.capture.graph import Graph
from mptq_export.quantize.objective.closed_forms import ClosedForm, closed_form
from mptq_export.recipe.metric import MetricName


def divergence(
    graph: Graph, exact: torch.Tensor, found: torch.Tensor, metric: MetricName | None = None
) -> torch.Tensor:
    """What `found` lacks.

    Args:
        graph: the graph of both.
        exact: output of the float model, [B, values].
        found: the quantized model's.
        metric: by which; None takes that of each output's kind.

    Returns:
        float64 [B], 0 or more.
    """
    pairs = zip(graph.parts(exact.double()), graph.parts(found.double()), strict=True)
    each = [form.distance(a, b) for form, (a, b) in zip(_forms(graph, metric), pairs, strict=True)]
    return torch.stack(each).mean(0) if graph.joined else each[0]


def hessian_draw(
    graph: Graph, output: torch.Tensor, generator: torch.Generator, metric: MetricName | None = None
) -> torch.Tensor:
    """A random vector for every image, its covariance the Hessian of the divergence at the float model's output.

    Of n outputs it is a block each, 1/n of that output's own.
    """
    output = output.detach()
    noise = torch.randn(output.shape, generator=generator, dtype=torch.float64).to(output)
    pairs, count = zip(graph.parts(output), graph.parts(noise), strict=True), len(graph.given)
    draws = [form.draw(x, z, count) for form, (x, z) in zip(_forms(graph, metric), pairs, strict=True)]
    return torch.cat(draws, 1) if graph.joined else draws[0]


def _forms(graph: Graph, metric: MetricName | None) -> list[ClosedForm]:
    values = zip(graph.given, graph.outputs.values(), strict=True)
    return [closed_form(metric, output.kind, graph[value].shape.dims) for output, value in values]

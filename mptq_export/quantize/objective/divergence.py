"""How far the quantized model's outputs are from the float model's: one number per image, and its second derivative.

Logits: the KL divergence of their softmax. Embeddings: 1 - cosine. Any other output: its squared error by the sum of
its squares. Of several outputs the mean. A detector has a distance of its own over all outputs (`detection.py`). A
metric that is asked for takes their place.
"""

from dataclasses import dataclass

import torch

from mptq_export.capture.graph import Graph
from mptq_export.quantize.objective.candidates import Given, candidates_of
from mptq_export.quantize.objective.closed_forms import ClosedForm, closed_form
from mptq_export.quantize.objective.detection import Detection
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
    parts, others = graph.parts(exact.double()), graph.parts(found.double())
    return _objective(graph, metric).distance(parts, others)


def hessian_draw(
    graph: Graph, output: torch.Tensor, generator: torch.Generator, metric: MetricName | None = None
) -> torch.Tensor:
    """A random vector for every image, its covariance the Hessian of the divergence at the float model's output.

    Of n outputs it is a block each, 1/n of that output's own; of a detector's its share (`detection.py`).
    """
    output = output.detach()
    noise = torch.randn(output.shape, generator=generator, dtype=torch.float64).to(output)
    draws = _objective(graph, metric).draw(graph.parts(output), graph.parts(noise))
    return torch.cat(draws, 1) if graph.joined else draws[0]


@dataclass(frozen=True)
class _Mean:
    """Of the distances of all outputs."""

    forms: list[ClosedForm]

    def distance(self, exact: list[torch.Tensor], found: list[torch.Tensor]) -> torch.Tensor:
        each = [form.distance(a, b) for form, a, b in zip(self.forms, exact, found, strict=True)]
        return torch.stack(each).mean(0) if len(each) > 1 else each[0]

    def draw(self, exact: list[torch.Tensor], noise: list[torch.Tensor]) -> list[torch.Tensor]:
        count = len(self.forms)
        return [form.draw(x, z, count) for form, x, z in zip(self.forms, exact, noise, strict=True)]


def _objective(graph: Graph, metric: MetricName | None) -> Detection | _Mean:
    given = _given(graph)
    if metric == "detection" or (metric is None and candidates_of(given)):
        return Detection.of(given)
    return _Mean([closed_form(metric, output.kind, dims) for output, dims in given])


def detects(graph: Graph) -> bool:
    """Whether the outputs speak of candidates, so that they can be compared as a detector's."""
    return bool(candidates_of(_given(graph)))


def _given(graph: Graph) -> Given:
    values = zip(graph.given, graph.outputs.values(), strict=True)
    return [(output, graph[value].shape.dims) for output, value in values]

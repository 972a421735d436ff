"""How far the quantized model's outputs are from the float model's: one number per image, and its second derivative.

Logits: the KL divergence of their softmax. Embeddings: 1 - cosine. Any other output: its squared error by the sum of
its squares. Of several outputs the mean. A detector has a distance of its own over all outputs (`detection.py`). A
metric that is asked for takes their place.
"""

from dataclasses import dataclass

import torch

from mptq_export.capture.graph import Graph
from mptq_export.quantize.objective.candidates import candidates_of
from mptq_export.quantize.objective.closed_forms import ClosedForm, closed_form
from mptq_export.quantize.objective.detection import Detection
from mptq_export.recipe.metric import MetricName
from mptq_export.recipe.outputs import OF_DETECTORS


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


def hessian_noise(graph: Graph, images: int, generator: torch.Generator) -> torch.Tensor:
    """What `hessian_draw` makes vectors of: standard normal numbers for some images, float64 on the CPU."""
    return torch.randn(graph[graph.output].shape.at(images), generator=generator, dtype=torch.float64)


def hessian_draw(
    graph: Graph, output: torch.Tensor, noise: torch.Tensor, metric: MetricName | None = None
) -> torch.Tensor:
    """A random vector for every image, its covariance the Hessian of the divergence at the float model's output.

    Of n outputs it is a block each, 1/n of that output's own; of a detector's its share (`detection.py`).

    Args:
        graph: of the model.
        output: the float model's, [B, values].
        noise: of these images, as `hessian_noise` gave it.
        metric: by which outputs are compared; None takes that of their kinds.
    """
    output = output.detach()
    draws = _objective(graph, metric).draw(graph.parts(output), graph.parts(noise.to(output)))
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
    values = zip(graph.given, graph.outputs.values(), strict=True)
    given = [(output, graph[value].shape.dims) for output, value in values]
    distance = None if metric == "detection" else metric
    if distance is None and candidates_of(given):  # masks alone are none: each of their pixels is a score
        return Detection.of(given)
    return _Mean([closed_form(distance, output.kind, dims) for output, dims in given])


def detects(graph: Graph) -> bool:
    """Whether a graph gives what only detectors give."""
    return any(output.kind in OF_DETECTORS for output in graph.given)

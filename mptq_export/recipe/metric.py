"""By what a model's outputs are compared with the float model's, where the caller says it."""

from collections.abc import Callable
from typing import Any, Literal

DistanceName = Literal["kl", "cosine", "mse"]
"""Distances of one output."""

MetricName = Literal[DistanceName, "detection"]
"""`kl`: divergence of the softmax over the classes. `cosine`: 1 - cosine. `mse`: squared error by squares of the float
output. `detection`: classes and boxes of a detector, weighed by how much it believes in an object there."""

OwnMetric = Callable[[Any, Any], Any]
"""A loss `(exact, found)` of the float model's outputs and the quantized one's, both a tensor, or a dictionary of them
by name where there are several. It gives a number an image, [B], or one for all; larger is worse."""

Metric = MetricName | OwnMetric

BY_KIND = "by kind of output"
"""What recipes say where no metric was asked for: `kl` for logits, `cosine` for embeddings, `detection` for a
detector, `mse` for all else."""


def metric_text(metric: Metric | None) -> str:
    """A metric as recipes and journals name it."""
    if metric is None:
        return BY_KIND
    return metric if isinstance(metric, str) else f"own: {getattr(metric, '__name__', type(metric).__name__)}"

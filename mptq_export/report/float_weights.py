"""The float weights of every layer in the steps of their channels: they stand beside the codes made of them."""

import torch

from mptq_export.capture.evaluate import weight_matrix
from mptq_export.capture.graph import Graph
from mptq_export.recipe.schema import Recipe, WeightQuant
from mptq_export.report.evidence import ValueHistogram

#: Bins of a histogram: the drawing is small.
_BINS = 64


def float_weights(graph: Graph, recipe: Recipe) -> dict[str, ValueHistogram]:
    """Histograms by layer, of weights that several calls share one.

    Args:
        graph: prepared graph with the recipe's transforms, on the CPU.
        recipe: all quantizers.
    """
    return {name: in_steps(weight_matrix(graph[name]), quant) for name, quant in recipe.own_weights.items()}


def in_steps(weight: torch.Tensor, quant: WeightQuant) -> ValueHistogram:
    """The histogram of one layer.

    Args:
        weight: float [N, K].
        quant: its codes; every output channel has a step of its own.
    """
    steps = weight.float() / torch.from_numpy(quant.scale)[:, None]
    low, high = (float(end) for end in torch.aminmax(steps))
    if not high > low:
        low, high = low - 0.5, low + 0.5
    counts = torch.histc(steps.reshape(-1), _BINS, low, high)
    return ValueHistogram(low, high, tuple(int(count) for count in counts))

"""What all widths share, SQ-b and balanced attention: chosen at one width, in a walk that costs little."""

import torch

from mptq_export.calibrate.statistics import Statistics
from mptq_export.capture.evaluate import weight_matrix
from mptq_export.capture.graph import Graph, Node
from mptq_export.quantize.activations.residual_grid import grid_exponents
from mptq_export.quantize.method import Method
from mptq_export.quantize.walk.walk import Builder
from mptq_export.quantize.weights.code_range import CodeRange
from mptq_export.quantize.weights.codes import quantize_weight
from mptq_export.recipe.schema import Recipe, WeightQuant

#: Of the weights that the walk goes on with: so wide that none has to be searched.
_WEIGHT_BITS = 8


class _TransformChooser(Builder):
    """Transforms are chosen as for a recipe, at the widths asked for; the weights behind them are only rounded."""

    MEASURES = False

    def _weights(self, node: Node) -> WeightQuant:
        weight = weight_matrix(node)
        codes, scale = quantize_weight(weight, _WEIGHT_BITS)
        stored, bias = codes.to(torch.int8).cpu().numpy(), node.params["bias"].float().cpu().numpy()
        form = CodeRange.of(_WEIGHT_BITS).form
        return WeightQuant(stored, scale.cpu().numpy(), bias, _WEIGHT_BITS, form, "min/max scales")


def choose_transforms(
    graph: Graph,
    stats: Statistics,
    images: torch.Tensor,
    bits: int,
    method: Method,
    importance: dict[str, torch.Tensor],
) -> tuple[Graph, Recipe]:
    """Choose SQ-b and balance attention.

    Args:
        graph: prepared canonical graph, on the device that computes.
        stats: calibration statistics.
        images: float32 calibration inputs.
        bits: width of weights and activations that the transforms are chosen for.
        method: which techniques are used.
        importance: row weights of the layers.

    Returns:
        The graph with its transforms, and a recipe that holds them; its weights have 8 bits.

    Raises:
        MptqError: a table cannot be certified, or a transform changed the function (a defect of this package).
    """
    chooser = _TransformChooser(graph, lambda _layer: (bits, bits), method, importance, grid_exponents(graph, stats))
    return chooser.graph_and_recipe(images, lambda _node: None)

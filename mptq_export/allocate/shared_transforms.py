"""What all widths share (SQ-b, balanced attention, rotations of the residual), chosen in a cheap walk."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from mptq_export.capture.evaluate import weight_matrix
from mptq_export.capture.graph import Graph, Node
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.form import Form, WidthsOf
from mptq_export.quantize.method import Method
from mptq_export.quantize.walk.following import following, seconds_of_nodes
from mptq_export.quantize.walk.state import WalkState
from mptq_export.quantize.walk.walk import Walk
from mptq_export.quantize.weights.code_range import CodeRange
from mptq_export.quantize.weights.quantize_weight import quantize_weight
from mptq_export.recipe.schema import Recipe, WeightQuant
from mptq_export.support.progress import SILENT, Bar

#: Of the weights that the walk goes on with: so wide that none has to be searched.
_WEIGHT_BITS = 8


class _RoundedWeights:
    """The step of a walk that only rounds: what is chosen at the widths asked for are the transforms."""

    fits = False

    def choose_codes(self, state: WalkState, nodes: Sequence[Node]) -> list[WeightQuant]:
        widest, node = state.form.weights, nodes[0]
        codes, scale = quantize_weight(weight_matrix(node), _WEIGHT_BITS, form=widest)
        stored, bias = codes.to(torch.int8).cpu().numpy(), node.params["bias"].float().cpu().numpy()
        form = CodeRange.of(_WEIGHT_BITS, widest).form
        return [WeightQuant(stored, scale.cpu().numpy(), bias, _WEIGHT_BITS, form, "min/max scales")] * len(nodes)


def choose_transforms(
    calibrated: CalibratedGraph, widths: WidthsOf, method: Method, form: Form, bar: Bar = SILENT
) -> tuple[Graph, Recipe]:
    """Choose SQ-b, balance attention, rotate the residual where the form wants that.

    Args:
        calibrated: the graph, with all calibration images and the importance of their rows.
        widths: of every layer, that the transforms are chosen for.
        method: which techniques are used.
        form: of the file.
        bar: advances by 1 in all.

    Returns:
        The graph with its transforms, and a recipe that holds them; its weights have 8 bits.

    Raises:
        MptqError: a table cannot be certified, or a transform changed the function (a defect of this package).
    """
    calibrated, rotations = form.transformed(calibrated, widths, method)
    walk = Walk(calibrated, widths, method, weight_step=_RoundedWeights(), form=form)
    tick = following(seconds_of_nodes(calibrated.graph, len(calibrated.images), method), bar)
    graph, recipe = walk.build_recipe(tick)
    return graph, replace(recipe, rotations=rotations)

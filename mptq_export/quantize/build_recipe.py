"""Calibration images and bit-widths -> all quantizers, in one walk through the graph."""

from dataclasses import replace

from mptq_export.capture.graph import Graph
from mptq_export.capture.size import size_of
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.exact_form import EXACT
from mptq_export.quantize.expected import importance_seconds
from mptq_export.quantize.form import Form, WidthsOf
from mptq_export.quantize.method import Method
from mptq_export.quantize.walk.following import following, seconds_of_nodes
from mptq_export.quantize.walk.walk import Walk
from mptq_export.recipe.schema import Recipe
from mptq_export.support.processes.group import Alone
from mptq_export.support.progress import SILENT, Bar, shares


def build_recipe(
    calibrated: CalibratedGraph, widths: WidthsOf, method: Method, bar: Bar = SILENT, *, form: Form = EXACT
) -> tuple[Graph, Recipe]:
    """Choose every quantizer.

    Args:
        calibrated: what is quantized; row importance is measured where it is not known and the method asks for it.
        widths: bit-widths of every layer; what no matmul reads, and the pixels, stay at 8.
        method: which techniques are used.
        bar: advances by 1 in all.
        form: of the file that will be written; the graph is prepared for it.

    Returns:
        The graph with its transforms applied (what they changed is float64), and a recipe without its proof.

    Raises:
        MptqError: a table cannot be certified, or a transform changed the function (a defect of this package).
    """
    images = len(calibrated.images)

    def seconds(graph: Graph) -> dict[str, float]:
        regions = form.has_weight_regions
        return seconds_of_nodes(graph, images, method, lambda layer: widths(layer)[:1], has_weight_regions=regions)

    known = calibrated.importance is not None
    weighing = 0.0 if known else importance_seconds(size_of(calibrated.graph), images, method)
    first, rest = shares(bar, weighing, sum(seconds(calibrated.graph).values()))
    calibrated, rotations = form.transformed(calibrated.with_importance(method, Alone(first)), widths, method)
    tick = following(seconds(calibrated.graph), rest)
    graph, recipe = Walk(calibrated, widths, method, form=form).build_recipe(tick)
    return graph, replace(recipe, rotations=rotations)

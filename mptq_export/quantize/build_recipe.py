"""Calibration images and bit-widths -> all quantizers, in one walk through the graph."""

from dataclasses import replace

from mptq_export.capture.graph import Graph
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.exact_form import EXACT
from mptq_export.quantize.form import Form, WidthsOf
from mptq_export.quantize.method import Method
from mptq_export.quantize.walk.walk import Tick, Walk
from mptq_export.recipe.schema import Recipe


def build_recipe(
    calibrated: CalibratedGraph, widths: WidthsOf, method: Method, tick: Tick | None = None, *, form: Form = EXACT
) -> tuple[Graph, Recipe]:
    """Choose every quantizer.

    Args:
        calibrated: what is quantized; row importance is measured where it is not known and the method asks for it.
        widths: bit-widths of every layer; what no matmul reads, and the pixels, stay at 8.
        method: which techniques are used.
        tick: called after every node.
        form: of the file that will be written; the graph is prepared for it.

    Returns:
        The graph with its transforms applied (what they changed is float64), and a recipe without its proof.

    Raises:
        MptqError: a table cannot be certified, or a transform changed the function (a defect of this package).
    """
    calibrated, rotations = form.transformed(calibrated.with_importance(method), widths, method)
    graph, recipe = Walk(calibrated, widths, method, form=form).build_recipe(tick)
    return graph, replace(recipe, rotations=rotations)

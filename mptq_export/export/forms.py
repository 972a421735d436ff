"""The form of the file that a target gets, as a walk and an emitter need it."""

from mptq_export.capture.graph import Graph
from mptq_export.quantize.exact_form import EXACT
from mptq_export.quantize.form import Form, Simulation, WidthsOf
from mptq_export.quantize.portable.form import Portable
from mptq_export.quantize.portable.simulate import PortableSimulator
from mptq_export.quantize.portable.sites import PortableSites
from mptq_export.quantize.simulation.simulate import Simulator
from mptq_export.recipe.schema import ExportRecipe, Recipe
from mptq_export.recipe.settings import InputType, Settings
from mptq_export.targets.rules import residual_bits
from mptq_export.targets.table import portable_form
from mptq_export.transform.portable import portable_graph


def form_for(target: str | None, residual: int | None) -> Form:
    """The form of a target's files.

    Args:
        target: None is `ort`.
        residual: width of the residual that was asked for; None: the best that the target has.
    """
    portable = portable_form(target)
    return EXACT if portable is None else Portable(portable, residual_bits(target, residual))


def graph_for(form: Form, graph: Graph, input_type: InputType | None) -> Graph:
    """A prepared graph as a form has it."""
    if not isinstance(form, Portable):
        return graph
    return portable_graph(graph, input_type or "float32", signed=form.form.signed)


def sites_of(settings: Settings, graph: Graph, recipe: Recipe) -> PortableSites:
    """Where the graph of a finished recipe of the portable form has codes."""
    form = form_for(settings.target, settings.residual_bits)
    assert isinstance(form, Portable)
    return form.sites(graph, widths_of(recipe))


def simulation_of(graph: Graph, recipe: ExportRecipe) -> Simulation:
    """The quantized model of a finished recipe, as its file computes it."""
    if recipe.settings.form == "exact":
        return Simulator.of(graph, recipe)
    return PortableSimulator.of(sites_of(recipe.settings, graph, recipe), recipe)


def widths_of(recipe: Recipe) -> WidthsOf:
    """(weights, activations) of every layer, as a finished recipe of the portable form has them."""

    def widths(layer: str) -> tuple[int, int]:
        weight, known = recipe.weights.get(layer), recipe.activations
        keys = (f"{layer}.{operand}" for operand in ("output", "input", "a"))
        return (8 if weight is None else weight.bits), next((known[key].bits for key in keys if key in known), 8)

    return widths

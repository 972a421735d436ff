"""The quantized model of a finished recipe, in the form that it was made for."""

from mptq_export.capture.graph import Graph
from mptq_export.quantize.form import Simulation, WidthsOf
from mptq_export.quantize.portable.form import Portable
from mptq_export.quantize.portable.simulate import PortableSimulator
from mptq_export.quantize.portable.sites import PortableSites
from mptq_export.quantize.simulation.simulate import Simulator
from mptq_export.quantize.target_form import form_for
from mptq_export.recipe.schema import ExportRecipe, Recipe
from mptq_export.recipe.settings import Settings


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

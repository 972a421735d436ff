"""Quantizers of every width for every layer, from one walk at the highest width."""

from dataclasses import dataclass, field

import torch

from mptq_export.allocate.search_space import SearchSpace
from mptq_export.calibrate.sites import Site
from mptq_export.capture.graph import Graph, Node
from mptq_export.quantize.activations.site_width import deciding_layer
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.form import SiteSearch
from mptq_export.quantize.method import Method
from mptq_export.quantize.simulation.simulate import Simulator
from mptq_export.quantize.walk.activation_step import AtAskedWidth
from mptq_export.quantize.walk.state import WalkState
from mptq_export.quantize.walk.walk import Walk
from mptq_export.quantize.walk.weight_step import FittedCodes, fit_weight
from mptq_export.recipe.schema import ActivationQuant, WeightQuant

#: The widest weights that GPTQ rounds: above, the search sees no difference, and GPTQ takes most of the time.
_WIDEST_GPTQ = 6


@dataclass
class Catalogue:
    """What the search composes candidates of.

    Attributes:
        weights: codes by (layer, bits).
        activations: quantizers by (site key, bits).
        decides: for every site key the layer whose activation width it has; absent where it is always 8 bits.
        exponents: residual grids.
        widest: all activation quantizers at the highest width, those that always have 8 bits among them, by site key.
    """

    weights: dict[tuple[str, int], WeightQuant] = field(default_factory=dict)
    activations: dict[tuple[str, int], ActivationQuant] = field(default_factory=dict)
    decides: dict[str, str] = field(default_factory=dict)
    exponents: dict[str, int] = field(default_factory=dict)
    widest: dict[str, ActivationQuant] = field(default_factory=dict)

    def simulator(self, graph: Graph) -> Simulator:
        """A simulator with the widest activations, and no weights yet."""
        simulator = Simulator(graph, self.exponents)
        simulator.activations = dict(self.widest)
        return simulator

    def install(self, simulator: Simulator, layer: str, widths: tuple[int, int], device: torch.device) -> None:
        """Give a layer of a simulator its widths."""
        if (layer, widths[0]) in self.weights:
            simulator.set_weight(layer, self.weights[layer, widths[0]], device)
        for key, decider in self.decides.items():
            if decider == layer:
                simulator.activations[key] = self.activations[key, widths[1]]


class _EveryActivation:
    """The step of a walk that goes on with the highest width, and keeps all others."""

    def __init__(self, space: SearchSpace, catalogue: Catalogue) -> None:
        self._space, self._catalogue, self._asked = space, catalogue, AtAskedWidth()

    def choose(self, state: WalkState, site: Site, search: SiteSearch) -> ActivationQuant:
        chosen = self._asked.choose(state, site, search)
        layer = deciding_layer(state.graph, site)
        if layer is not None:
            self._catalogue.decides[site.key] = layer
            for bits in self._space.activation_widths(layer):
                found = chosen if bits == state.widths(layer)[1] else search.at(bits)
                self._catalogue.activations[site.key, bits] = found
        return chosen


class _EveryWeight:
    """The same for weights, which are fitted once for all widths."""

    fits = True

    def __init__(self, space: SearchSpace, catalogue: Catalogue) -> None:
        self._space, self._catalogue, self._step = space, catalogue, FittedCodes(_WIDEST_GPTQ)

    def choose_codes(self, state: WalkState, node: Node) -> WeightQuant:
        fitted = fit_weight(state, node)
        for bits in self._space.weight_widths(node.name):
            self._catalogue.weights[node.name, bits] = self._step.round_weight(state, node, fitted, bits)
        return self._catalogue.weights[node.name, state.widths(node.name)[0]]


def collect_catalogue(calibrated: CalibratedGraph, method: Method, space: SearchSpace) -> Catalogue:
    """Choose all quantizers.

    Args:
        calibrated: the graph whose transforms stand, with the images that quantizers are chosen from.
        method: which techniques are used, without SQ-b and balanced attention: other transforms must not be asked for.
        space: the widths.
    """
    catalogue = Catalogue(exponents=calibrated.exponents)
    steps = _EveryActivation(space, catalogue), _EveryWeight(space, catalogue)
    walk = Walk(calibrated, space.start.__getitem__, method, *steps)
    walk.run()
    catalogue.widest = dict(walk.state.simulator.activations)
    return catalogue

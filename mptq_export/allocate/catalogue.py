"""Quantizers of every width for every layer of the exact form, from one walk at the highest width."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch

from mptq_export.allocate.search_space import SearchSpace
from mptq_export.allocate.units import Unit, Widths
from mptq_export.calibrate.sites import Site, feeds_matmuls
from mptq_export.capture.graph import Graph, Node
from mptq_export.quantize.activations.site_width import deciding_layer
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.form import Simulation, SiteSearch
from mptq_export.quantize.method import Method
from mptq_export.quantize.simulation.simulate import Simulator
from mptq_export.quantize.walk.activation_step import AtAskedWidth
from mptq_export.quantize.walk.following import following, seconds_of_nodes
from mptq_export.quantize.walk.state import WalkState
from mptq_export.quantize.walk.walk import Walk
from mptq_export.quantize.walk.weight_step import FittedCodes, fit_weight
from mptq_export.recipe.schema import ActivationQuant, WeightQuant
from mptq_export.support.processes.group import Alone, Group, Seat

#: The widest weights that GPTQ rounds: above, the search sees no difference, and GPTQ takes most of the time.
_WIDEST_GPTQ = 6


@dataclass
class ExactCatalogue:
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

    def install(self, simulator: Simulation, widths: Widths, device: torch.device) -> Iterable[str]:
        """As the protocol says: what changes are the layers themselves."""
        for layer, (weights, _) in widths.items():
            if (layer, weights) in self.weights:
                simulator.set_weight(layer, self.weights[layer, weights], device)
        for key, decider in self.decides.items():
            if decider in widths:
                simulator.activations[key] = self.activations[key, widths[decider][1]]
        return widths

    def given(self, _simulator: Simulation, _graph: Graph, images: torch.Tensor) -> torch.Tensor:
        """As the protocol says: pixels become codes where the patch embedding reads them."""
        return images

    def simulated(self, graph: Graph, source: str, value: torch.Tensor) -> torch.Tensor:
        """As the protocol says: softmax without its division where matmuls divide."""
        return value / value.amax(-1, keepdim=True) if feeds_matmuls(graph, graph[source]) else value

    def places(self, _graph: Graph, unit: Unit) -> list[str]:
        """As the protocol says: the layer alone."""
        return list(unit.calls)


class _EveryActivation:
    """The step of a walk that goes on with the highest width, and keeps all others."""

    def __init__(self, space: SearchSpace, catalogue: ExactCatalogue, seat: Seat) -> None:
        self._space, self._catalogue, self._seat, self._asked = space, catalogue, seat, AtAskedWidth()

    def choose(self, state: WalkState, site: Site, search: SiteSearch) -> ActivationQuant:
        chosen = self._asked.choose(state, site, search)
        layer = deciding_layer(state.graph, site)
        if layer is not None:
            self._catalogue.decides[site.key], asked = layer, state.widths(layer)[1]
            for bits in own_widths(self._seat, self._space.activation_widths(layer), asked):
                found = chosen if bits == asked else search.at(bits)
                self._catalogue.activations[site.key, bits] = found
        return chosen


class EveryWeight:
    """The step of a walk that keeps the codes of every width; weights are fitted once for all of them."""

    fits = True

    def __init__(self, space: SearchSpace, codes: dict[tuple[str, int], WeightQuant], seat: Seat) -> None:
        self._space, self._codes, self._step, self._seat = space, codes, FittedCodes(_WIDEST_GPTQ), seat

    def choose_codes(self, state: WalkState, nodes: Sequence[Node]) -> list[WeightQuant]:
        """As the protocol says; the walk goes on with the width asked for."""
        fitted, asked = fit_weight(state, nodes), state.widths(nodes[0].name)[0]
        for bits in own_widths(self._seat, self._space.weight_widths(nodes[0].name), asked):
            found = self._step.round_weight(state, nodes, fitted, bits)
            self._codes |= {(node.name, bits): quant for node, quant in zip(nodes, found, strict=True)}
        return [self._codes[node.name, asked] for node in nodes]


def own_widths(seat: Seat, widths: Iterable[int], asked: int) -> list[int]:
    """The width that a walk goes on with, and of the others those of this process.

    All processes walk, each on its own device, and what they walk on is the same: so nothing has to travel.

    Args:
        seat: of the process.
        widths: all of them.
        asked: that of the walk, one of them.
    """
    return sorted([asked, *seat.dealt([bits for bits in sorted(widths) if bits != asked])])


def collect_catalogue(
    calibrated: CalibratedGraph, method: Method, space: SearchSpace, group: Group | None = None
) -> ExactCatalogue:
    """Choose all quantizers.

    Args:
        calibrated: the graph whose transforms stand, with the images that quantizers are chosen from.
        method: which techniques are used, without SQ-b and balanced attention: other transforms must not be asked for.
        space: the widths.
        group: processes that share the widths; None: this one alone.
    """
    first, *others = (group or Alone()).call(_collect, calibrated, method, space)
    for other in others:
        first.weights, first.activations = other.weights | first.weights, other.activations | first.activations
    return first


def _collect(seat: Seat, calibrated: CalibratedGraph, method: Method, space: SearchSpace) -> ExactCatalogue:
    """Those of this process's widths."""
    catalogue = ExactCatalogue(exponents=calibrated.exponents)
    steps = _EveryActivation(space, catalogue, seat), EveryWeight(space, catalogue.weights, seat)
    walk = Walk(calibrated, space.start.__getitem__, method, *steps)
    seconds = seconds_of_nodes(calibrated.graph, len(calibrated.images), method, space.weight_widths)
    walk.run(following(seconds, seat.bar))
    catalogue.widest = dict(walk.state.simulator.activations)
    return catalogue

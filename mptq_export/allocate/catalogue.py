"""Quantizers of every width for every layer, from one walk at the highest width."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch

from mptq_export.allocate.units import Widths
from mptq_export.calibrate.sites import Site
from mptq_export.calibrate.statistics import Statistics
from mptq_export.capture.graph import Graph, Node
from mptq_export.quantize.activations.residual_grid import grid_exponents
from mptq_export.quantize.activations.search import ActivationSearch
from mptq_export.quantize.method import Method
from mptq_export.quantize.simulation.simulate import Simulator
from mptq_export.quantize.walk.walk import Builder, deciding_layer
from mptq_export.recipe.schema import ActivationQuant, WeightQuant


@dataclass
class Catalogue:
    """What the search composes candidates of.

    Attributes:
        weights: codes by (layer, bits).
        activations: quantizers by (site key, bits).
        decides: for every site key the layer whose activation width it has; absent where it is always 8 bits.
        exponents: residual grids.
    """

    weights: dict[tuple[str, int], WeightQuant] = field(default_factory=dict)
    activations: dict[tuple[str, int], ActivationQuant] = field(default_factory=dict)
    decides: dict[str, str] = field(default_factory=dict)
    exponents: dict[str, int] = field(default_factory=dict)

    def install(self, simulator: Simulator, layer: str, widths: tuple[int, int], device: torch.device) -> None:
        """Give a layer of a simulator its widths."""
        if (layer, widths[0]) in self.weights:
            simulator.set_weight(layer, self.weights[layer, widths[0]], device)
        for key, decider in self.decides.items():
            if decider == layer:
                simulator.activations[key] = self.activations[key, widths[1]]


class _Collector(Builder):
    """A walk that also records the other widths of everything it chooses."""

    #: Above it the search sees no difference, and rounding takes most of the time.
    COMPENSATED = 6

    def __init__(
        self,
        graph: Graph,
        method: Method,
        importance: dict[str, torch.Tensor],
        exponents: dict[str, int],
        bits: range,
        pinned: Widths,
    ) -> None:
        highest = (bits[-1], bits[-1])
        super().__init__(graph, lambda layer: pinned.get(layer, highest), method, importance, exponents)
        self.catalogue = Catalogue(exponents=exponents)
        self._range, self._pinned = bits, pinned

    def _tried(self, layer: str, part: int) -> Iterable[int]:
        """Widths of a layer's weights (0) or activations (1): a pinned one may be outside the range."""
        return (self._pinned[layer][part],) if layer in self._pinned else self._range

    def _chosen_by(self, site: Site, search: ActivationSearch) -> ActivationQuant:
        chosen = super()._chosen_by(site, search)
        layer = deciding_layer(self.graph, site)
        if layer is not None:
            self.catalogue.decides[site.key] = layer
            for bits in self._tried(layer, 1):
                found = chosen if bits == self.widths(layer)[1] else search.at(bits)
                self.catalogue.activations[site.key, bits] = found
        return chosen

    def _weights(self, node: Node) -> WeightQuant:
        fitted = self._fitted(node)
        for bits in self._tried(node.name, 0):
            self.catalogue.weights[node.name, bits] = self._rounded(node, fitted, bits)
        return self.catalogue.weights[node.name, self.widths(node.name)[0]]


def collect_catalogue(
    graph: Graph,
    stats: Statistics,
    images: torch.Tensor,
    method: Method,
    importance: dict[str, torch.Tensor],
    bits: range,
    pinned: Widths,
) -> tuple[Catalogue, dict[str, ActivationQuant]]:
    """Choose all quantizers.

    Args:
        graph: the graph whose transforms stand (the method must not ask for others).
        stats: calibration statistics.
        images: float32 calibration inputs.
        method: which techniques are used, without smoothing and balance.
        importance: row weights of the layers.
        bits: the widths, rising.
        pinned: layers that have one width each, inside the range or not.

    Returns:
        The catalogue, and all activation quantizers at the highest width.
    """
    collector = _Collector(graph, method, importance, grid_exponents(graph, stats), bits, pinned)
    with torch.no_grad():
        collector.run(images, lambda _node: None)
    return collector.catalogue, dict(collector.simulator.activations)

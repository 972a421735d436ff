"""The variables of a search: what moves, between which widths, and from where."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mptq_export.allocate.units import Unit, Widths, layers, pinned_widths, units
from mptq_export.allocate.width_domain import WidthDomain
from mptq_export.capture.graph import Graph


@dataclass(frozen=True)
class SearchSpace:
    """What a search may change.

    Attributes:
        units: what moves.
        start: the widest widths of all layers; those of layers without a unit stand.
        domain: widths that are tried.
        pinned: widths of the layers that do not move, in the domain or not.
        fixed: width of the activations of layers whose own does not move.
    """

    units: list[Unit]
    start: Widths
    domain: WidthDomain
    pinned: Widths = field(default_factory=dict)
    fixed: Mapping[str, int] = field(default_factory=dict)

    @staticmethod
    def of(
        graph: Graph,
        domain: WidthDomain,
        *,
        tied: bool,
        pins: Mapping[str, tuple[int, int]],
        fixed: Mapping[str, int] | None = None,
    ) -> "SearchSpace":
        """What may move in a model.

        Args:
            graph: prepared canonical graph.
            domain: widths that are tried.
            tied: weights and activations of a layer move together.
            pins: (weights, activations) by shell pattern of layer names; later patterns win.
            fixed: width of the activations of layers whose own the form of the file decides; None: there are none.

        Raises:
            MptqError: a pin matches no layer.
        """
        pinned, still = pinned_widths(graph, pins), fixed or {}
        asked = {node.name: domain.highest for node in layers(graph)} | pinned
        start = {name: (weights, still.get(name, bits)) for name, (weights, bits) in asked.items()}
        return SearchSpace(units(graph, tied=tied, pinned=pinned, fixed=still), start, domain, pinned, still)

    def widths(self, unit: Unit) -> tuple[int, ...]:
        """All widths of a unit, rising."""
        return self.domain.activations if unit.side == "activations" else self.domain.weights

    def below(self, unit: Unit, widths: Widths) -> tuple[int, ...]:
        """The widths of a unit that are narrower than what it has, rising."""
        return tuple(b for b in self.widths(unit) if b < unit.bits(widths))

    @property
    def narrowest(self) -> Widths:
        """All that moves at its narrowest."""
        return self.uniform(*self.domain.lowest)

    def uniform(self, weights: int, activations: int) -> Widths:
        """All that moves at one width of weights and one of activations; what moves together has that of weights."""
        found = dict(self.start)
        for unit in self.units:
            found |= unit.given(found, activations if unit.side == "activations" else weights)
        return found

    def weight_widths(self, layer: str) -> Sequence[int]:
        """All widths that the weights of a layer may have."""
        bits = self.start[layer][0]
        return (bits,) if layer in self.pinned else self.domain.weights

    def activation_widths(self, layer: str) -> Sequence[int]:
        """All widths that the activations of a layer may have."""
        still = layer in self.pinned or layer in self.fixed
        bits = self.start[layer][1]
        return (bits,) if still else self.domain.activations

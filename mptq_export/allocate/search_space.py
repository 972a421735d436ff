"""The variables of a search: what moves, between which widths, and from where."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mptq_export.allocate.units import Unit, Widths, layers, pinned_widths, units
from mptq_export.capture.graph import Graph


@dataclass(frozen=True)
class SearchSpace:
    """What a search may change.

    Attributes:
        units: what moves.
        start: the widest widths of all layers; those of layers without a unit stand.
        bits: widths that are tried, rising.
        pinned: widths of the layers that do not move, inside the range or not.
    """

    units: list[Unit]
    start: Widths
    bits: range
    pinned: Widths = field(default_factory=dict)

    @staticmethod
    def of(graph: Graph, bits: range, *, tied: bool, pins: Mapping[str, tuple[int, int]]) -> "SearchSpace":
        """What may move in a model.

        Args:
            graph: prepared canonical graph.
            bits: widths that are tried, rising.
            tied: weights and activations of a layer move together.
            pins: (weights, activations) by shell pattern of layer names; later patterns win.

        Raises:
            MptqError: a pin matches no layer.
        """
        pinned = pinned_widths(graph, pins)
        start = {node.name: (bits[-1], bits[-1]) for node in layers(graph)} | pinned
        return SearchSpace(units(graph, tied=tied, pinned=pinned), start, bits, pinned)

    @property
    def lowest(self) -> int:
        """No unit goes below this width."""
        return self.bits[0]

    def weight_widths(self, layer: str) -> Sequence[int]:
        """All widths that the weights of a layer may have."""
        return (self.pinned[layer][0],) if layer in self.pinned else self.bits

    def activation_widths(self, layer: str) -> Sequence[int]:
        """All widths that the activations of a layer may have."""
        return (self.pinned[layer][1],) if layer in self.pinned else self.bits

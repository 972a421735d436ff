"""Multiply-accumulate-bits: what widths cost on hardware that computes in them.

BOPs of a layer are its multiply-accumulates times the bits of both factors (Baskin et al., "UNIQ", 2018; van Baalen et
al., "Bayesian Bits", 2020; HAWQ-V3 calls the sum BOPS): a product of 4 by 8 bits counts half of one of 8 by 8. The
factors of a product of two activations are both activations.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mptq_export.allocate.units import Widths, layers
from mptq_export.capture.graph import Graph
from mptq_export.capture.ops import Matmul
from mptq_export.capture.size import multiplications


@dataclass(frozen=True)
class BitOperations:
    """BOPs of one model, per image.

    Attributes:
        macs: multiply-accumulates of every layer.
        products: layers whose factors are both activations.
        fixed: width of the activations of layers whose own does not move, pixels among them.
        right: width of the second factor of a product of two activations; None: that of the first.
    """

    macs: Mapping[str, int] = field(default_factory=dict)
    products: frozenset[str] = frozenset()
    fixed: Mapping[str, int] = field(default_factory=dict)
    right: int | None = None

    @staticmethod
    def of(graph: Graph, fixed: Mapping[str, int], right: int | None) -> "BitOperations":
        """Count.

        Args:
            graph: prepared canonical graph.
            fixed: width of the activations of layers whose own does not move.
            right: width of the second factor of a product of two activations; None: that of the first.
        """
        nodes = layers(graph)
        products = frozenset(node.name for node in nodes if isinstance(node.op, Matmul))
        return BitOperations({node.name: multiplications(graph, node) for node in nodes}, products, fixed, right)

    def of_layer(self, layer: str, widths: tuple[int, int]) -> float:
        """BOPs of a layer with (weights, activations) of these widths."""
        activations = self.fixed.get(layer, widths[1])
        other = (self.right or activations) if layer in self.products else widths[0]
        return float(self.macs.get(layer, 0) * activations * other)

    def total(self, widths: Widths) -> float:
        """BOPs of an image."""
        return sum(self.of_layer(layer, widths[layer]) for layer in self.macs)

    @property
    def at_8_bits(self) -> float:
        """BOPs of an image where everything that can have 8 bits has them: what shares are of."""
        return sum(self.of_layer(layer, (8, 8)) for layer in self.macs)

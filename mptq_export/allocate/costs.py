"""What widths cost: mean bits, bytes of the file, milliseconds, bit operations."""

from dataclasses import dataclass, field

from mptq_export.allocate.bit_operations import BitOperations
from mptq_export.allocate.budget import Budget
from mptq_export.allocate.constraint import Constraint
from mptq_export.allocate.form import Sizes
from mptq_export.allocate.latency import LatencyTable
from mptq_export.allocate.prices import Prices
from mptq_export.allocate.units import Widths, layers, weight_counts
from mptq_export.capture.graph import Graph
from mptq_export.capture.ops import PatchEmbed
from mptq_export.capture.size import multiplications
from mptq_export.recipe.schema import WIDTHS

#: All that there are, in any form.
_WIDTHS = (*WIDTHS, 16)


@dataclass(frozen=True)
class Costs:
    """Costs of one model.

    Attributes:
        parameters: weights of every layer that has some.
        macs: multiply-accumulates per image of every layer whose operands have a width; a patch embedding reads pixels.
        sizes: bytes of files; None where they were not measured.
        latency: what every activation width costs; None where it was not measured.
        operations: what both widths of a layer cost in BOPs.
    """

    parameters: dict[str, int]
    macs: dict[str, int]
    sizes: Sizes | None = None
    latency: LatencyTable | None = None
    operations: BitOperations = field(default_factory=BitOperations)

    @staticmethod
    def of(graph: Graph, *, sizes: Sizes | None = None, operations: BitOperations | None = None) -> "Costs":
        """Count.

        Args:
            graph: prepared canonical graph.
            sizes: bytes of files; None where they do not matter.
            operations: BOPs of the form of the file; None where they do not matter.
        """
        nodes = layers(graph)
        parameters = weight_counts(graph)
        macs = {node.name: multiplications(graph, node) for node in nodes if not isinstance(node.op, PatchEmbed)}
        return Costs(parameters, macs, sizes, operations=operations or BitOperations())

    def mean_bits(self, widths: Widths) -> tuple[float, float]:
        """Mean width of weights, weighted by parameters, and of activations, weighted by multiply-accumulates."""
        weights = sum(widths[name][0] * count for name, count in self.parameters.items())
        activations = sum(widths[name][1] * count for name, count in self.macs.items())
        return weights / sum(self.parameters.values()), activations / sum(self.macs.values())

    def file_bytes(self, widths: Widths) -> float:
        """Size of the ONNX file; rather too large than too small. Only where sizes were measured."""
        assert self.sizes is not None
        return self.sizes.other + sum(self.sizes.stored[name, widths[name][0]] for name in self.parameters)

    def operations_text(self, widths: Widths) -> str:
        """BOPs in a few words."""
        total = self.operations.total(widths)
        return f"{total / 1e9:.3g} GBOPs ({100 * total / self.operations.at_8_bits:.1f}% of those at 8/8)"

    def constraints(self, budget: Budget) -> list[Constraint]:
        """The budget as inequalities."""
        if budget.kind == "bytes":
            assert self.sizes is not None
            return [Constraint(self.sizes.stored, {}, budget.most - self.sizes.other)]
        if budget.kind == "latency":
            assert self.latency is not None
            return [Constraint({}, self.latency.layers, budget.most - self.latency.other)]
        if budget.kind != "bits":
            most = budget.most * (self.operations.at_8_bits if budget.kind == "operations share" else 1)
            return [Constraint({}, {}, most, self.operations.of_layer)]
        found = [Constraint(_bits_of(self.parameters), {}, budget.most * sum(self.parameters.values()))]
        if budget.most_activations is not None:
            found.append(Constraint({}, _bits_of(self.macs), budget.most_activations * sum(self.macs.values())))
        return found

    def describe(self, widths: Widths) -> dict[str, float]:
        """Mean widths, and what else was measured, as the trade-off stores them."""
        weights, activations = self.mean_bits(widths)
        found = {"mean_weight_bits": weights, "mean_activation_bits": activations}
        if self.operations.macs:
            found["gbops"] = self.operations.total(widths) / 1e9
        if self.sizes is not None:
            found["file_bytes"] = self.file_bytes(widths)
        if self.latency is not None:
            found["latency_ms"] = self.latency.of(widths)
        return found


def _bits_of(counts: dict[str, int]) -> Prices:
    return {(name, bits): float(count * bits) for name, count in counts.items() for bits in _WIDTHS}

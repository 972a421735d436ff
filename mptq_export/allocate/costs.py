"""What widths cost: mean bits, bytes; and what is still over a budget."""

from dataclasses import dataclass, replace

from mptq_export.allocate.budget import Budget
from mptq_export.allocate.greedy import Limit
from mptq_export.allocate.units import Unit, Widths, layers, multiplications
from mptq_export.capture.graph import Graph
from mptq_export.recipe.schema import Recipe

#: How much larger than measured on one file the part that is not weight codes may be on another.
_SLACK = 0.05


@dataclass(frozen=True)
class Costs:
    """Costs of one model.

    Attributes:
        parameters: weights of every layer that has some.
        macs: multiply-accumulates an image of every layer whose operands have a width (a patch embedding reads pixels).
        other_bytes: bytes of a file that are not weight codes; 0 where no budget is a size.
    """

    parameters: dict[str, int]
    macs: dict[str, int]
    other_bytes: float

    @staticmethod
    def of(graph: Graph, recipe: Recipe | None = None) -> "Costs":
        """Count.

        Args:
            graph: prepared canonical graph.
            recipe: any recipe of the graph, to measure what is not weight codes; None where sizes do not matter.
        """
        nodes = layers(graph)
        return Costs(
            {node.name: node.params["weight"].numel() for node in nodes if "weight" in node.params},
            {node.name: multiplications(graph, node) for node in nodes if node.op != "patch_embed"},
            _other_bytes(graph, recipe) if recipe else 0.0,
        )

    def mean_bits(self, widths: Widths) -> tuple[float, float]:
        """Mean width of weights, weighted by parameters, and of activations, weighted by multiply-accumulates."""
        weights = sum(widths[name][0] * count for name, count in self.parameters.items())
        activations = sum(widths[name][1] * count for name, count in self.macs.items())
        return weights / sum(self.parameters.values()), activations / sum(self.macs.values())

    def weight_bytes(self, widths: Widths) -> float:
        """Bytes of all weight codes at their own widths."""
        return sum(widths[name][0] * count for name, count in self.parameters.items()) / 8

    def limit(self, budget: Budget) -> Limit:
        """The budget as the search asks for it."""
        parameters, macs = sum(self.parameters.values()), sum(self.macs.values())
        if budget.file_bytes is not None:
            most = budget.file_bytes - self.other_bytes
            return Limit(lambda unit, _: unit.parameters / parameters, lambda widths: self.weight_bytes(widths) <= most)
        mean = budget.bits

        def gain(unit: Unit, widths: Widths) -> float:
            weights, activations = self.mean_bits(widths)
            share = unit.parameters / parameters if weights > mean else 0.0
            return share + (unit.macs / macs if activations > mean else 0.0)

        return Limit(gain, lambda widths: max(self.mean_bits(widths)) <= mean + 1e-9)

    def rows(self, budget: Budget, units: list[Unit], start: Widths) -> list[tuple[list[float], float]]:
        """The budget as inequalities: (cost of one bit of every unit, largest sum)."""
        moved = {unit.layer for unit in units}
        still = sum(start[name][0] * count for name, count in self.parameters.items() if name not in moved)
        costs = [float(unit.parameters) for unit in units]
        if budget.file_bytes is not None:
            return [(costs, (budget.file_bytes - self.other_bytes) * 8 - still)]
        still_read = sum(start[name][1] * count for name, count in self.macs.items() if name not in moved)
        return [
            (costs, budget.bits * sum(self.parameters.values()) - still),
            ([float(unit.macs) for unit in units], budget.bits * sum(self.macs.values()) - still_read),
        ]

    def describe(self, widths: Widths) -> str:
        """Mean widths, and the size where it was measured."""
        weights, activations = self.mean_bits(widths)
        size = f" and about {(self.weight_bytes(widths) + self.other_bytes) / 1e6:.2f} MB" if self.other_bytes else ""
        return f"mean widths {weights:.2f}/{activations:.2f}{size}"


def _other_bytes(graph: Graph, recipe: Recipe) -> float:
    """Bytes of a file that are not weight codes, measured on the file of one recipe, and a little for its nodes."""
    from mptq_export.emit.emitter import emit

    model = emit(graph.to("cpu"), replace(recipe), input_type="float32", metadata={}, producer="")
    codes = sum(quant.codes.size * quant.bits / 8 for quant in recipe.weights.values())
    return float(model.ByteSize() - codes) * (1 + _SLACK)

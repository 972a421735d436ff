"""What widths cost: mean bits, bytes; and what is still over a budget."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import onnx

from mptq_export.allocate.budget import Budget
from mptq_export.allocate.greedy import Limit
from mptq_export.allocate.units import Unit, Widths, layers, multiplications
from mptq_export.capture.graph import Graph
from mptq_export.recipe.schema import Recipe

#: How much larger than measured on one file the part that is not weight codes may be on another.
_SLACK = 0.05

#: A name as long as that of most weights.
_NAME = "blocks.10.attn.qkv.weight"


@dataclass(frozen=True)
class Costs:
    """Costs of one model.

    Attributes:
        parameters: weights of every layer that has some.
        macs: multiply-accumulates an image of every layer whose operands have a width (a patch embedding reads pixels).
        other_bytes: bytes of a file that are not weight codes; 0 where no budget is a size.
        stored: bytes of a layer's codes in a file by (layer, bits), with the nodes that unpack them: small weights are
            not packed at every width. Empty where no budget is a size.
    """

    parameters: dict[str, int]
    macs: dict[str, int]
    other_bytes: float
    stored: dict[tuple[str, int], int]

    @staticmethod
    def of(graph: Graph, recipe: Recipe | None = None) -> "Costs":
        """Count.

        Args:
            graph: prepared canonical graph.
            recipe: any recipe of the graph, to measure what is not weight codes; None where sizes do not matter.
        """
        nodes = layers(graph)
        parameters = {node.name: node.params["weight"].numel() for node in nodes if "weight" in node.params}
        macs = {node.name: multiplications(graph, node) for node in nodes if node.op != "patch_embed"}
        if recipe is None:
            return Costs(parameters, macs, 0.0, {})
        stored = {
            (name, bits): _stored_bytes(count, bits) for name, count in parameters.items() for bits in range(2, 9)
        }
        return Costs(parameters, macs, _other_bytes(graph, recipe, stored), stored)

    def mean_bits(self, widths: Widths) -> tuple[float, float]:
        """Mean width of weights, weighted by parameters, and of activations, weighted by multiply-accumulates."""
        weights = sum(widths[name][0] * count for name, count in self.parameters.items())
        activations = sum(widths[name][1] * count for name, count in self.macs.items())
        return weights / sum(self.parameters.values()), activations / sum(self.macs.values())

    def weight_bytes(self, widths: Widths) -> float:
        """Bytes of all weight codes at their own widths."""
        return sum(widths[name][0] * count for name, count in self.parameters.items()) / 8

    def file_bytes(self, widths: Widths) -> float:
        """Size of the ONNX file; rather too large than too small. Only where a budget is a size."""
        return self.other_bytes + sum(self.stored[name, widths[name][0]] for name in self.parameters)

    def lowest(self, budget: Budget, start: Widths, units: list[Unit], bits: range) -> Widths:
        """The widths that cost least: a small weight may take less of a file at a width at which it is packed."""
        widths = start
        for unit in units:
            sized = budget.file_bytes is not None and unit.parameters
            widths = unit.applied(widths, min(bits, key=lambda b: self.stored[unit.layer, b]) if sized else bits[0])
        return widths

    def limit(self, budget: Budget, lowest: int) -> Limit:
        """The budget as the search asks for it.

        Args:
            budget: any budget.
            lowest: no unit goes below this width.
        """
        parameters, macs = sum(self.parameters.values()), sum(self.macs.values())
        if budget.file_bytes is not None:
            most = budget.file_bytes

            def saved(unit: Unit, widths: Widths) -> float:
                """Bytes a bit, of the best width below: one step may save nothing, and the next one much."""
                if not unit.parameters:
                    return 0.0
                bits, sizes = unit.bits(widths), self.stored
                gains = ((sizes[unit.layer, bits] - sizes[unit.layer, b]) / (bits - b) for b in range(lowest, bits))
                return max(gains, default=0.0)

            return Limit(saved, lambda widths: self.file_bytes(widths) <= most)
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
        size = f" and about {self.file_bytes(widths) / 1e6:.2f} MB" if self.stored else ""
        return f"mean widths {weights:.2f}/{activations:.2f}{size}"


def _other_bytes(graph: Graph, recipe: Recipe, stored: dict[tuple[str, int], int]) -> float:
    """Bytes of a file that are not weight codes, measured on the file of one recipe, and a little for its nodes."""
    from mptq_export.emit.emitter import emit

    model = emit(graph.to("cpu"), replace(recipe), input_type="float32", metadata={}, producer="")
    codes = sum(stored[name, quant.bits] for name, quant in recipe.weights.items())
    return float(model.ByteSize() - codes) * (1 + _SLACK)


@cache
def _stored_bytes(count: int, bits: int) -> int:
    """Bytes that so many codes of a width take in a file, measured on codes of which no two are alike."""
    from mptq_export.emit.builder import OnnxBuilder, value_info
    from mptq_export.emit.weight_storage import store_weight

    builder = OnnxBuilder()
    codes = np.random.default_rng(0).integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (count, 1), np.int8)
    result = store_weight(builder, _NAME, codes, bits, "packed")
    output = value_info(result, onnx.TensorProto.INT8, list(codes.shape))
    return int(builder.model([], [output], {}, "").ByteSize())

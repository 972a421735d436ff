"""What widths cost: mean bits, bytes of the file, milliseconds."""

from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
import onnx

from mptq_export.allocate.budget import Budget
from mptq_export.allocate.constraint import Constraint, Prices
from mptq_export.allocate.latency import LatencyTable
from mptq_export.allocate.units import Widths, layers, multiplications
from mptq_export.capture.graph import Graph
from mptq_export.capture.ops import PatchEmbed
from mptq_export.emit.builder import OnnxBuilder, value_info
from mptq_export.emit.exact.emitter import emit
from mptq_export.emit.exact.weight_storage import store_packed
from mptq_export.recipe.schema import WIDTHS, Recipe

#: How much larger than measured on one file the part that is not weight codes may be on another.
_SLACK = 0.05

#: A name as long as that of most weights.
_NAME = "blocks.10.attn.qkv.weight"


@dataclass(frozen=True)
class Costs:
    """Costs of one model.

    Attributes:
        parameters: weights of every layer that has some.
        macs: multiply-accumulates per image of every layer whose operands have a width; a patch embedding reads pixels.
        other_bytes: bytes of a file that are not weight codes; 0 where sizes were not measured.
        stored: bytes of a layer's codes in a file by (layer, bits), with the nodes that unpack them: small weights are
            not packed at every width. Empty where sizes were not measured.
        latency: what every activation width costs; None where it was not measured.
    """

    parameters: dict[str, int]
    macs: dict[str, int]
    other_bytes: float = 0.0
    stored: Prices = field(default_factory=dict)
    latency: LatencyTable | None = None

    @staticmethod
    def of(graph: Graph, recipe: Recipe | None = None, latency: LatencyTable | None = None) -> "Costs":
        """Count.

        Args:
            graph: prepared canonical graph.
            recipe: any recipe of the graph, to measure what is not weight codes; None where sizes do not matter.
            latency: measured before; None where it does not matter.
        """
        nodes = layers(graph)
        parameters = {node.name: node.params["weight"].numel() for node in nodes if "weight" in node.params}
        macs = {node.name: multiplications(graph, node) for node in nodes if not isinstance(node.op, PatchEmbed)}
        if recipe is None:
            return Costs(parameters, macs, latency=latency)
        stored = {
            (name, bits): float(_stored_bytes(count, bits)) for name, count in parameters.items() for bits in WIDTHS
        }
        return Costs(parameters, macs, _other_bytes(graph, recipe, stored), stored, latency)

    def mean_bits(self, widths: Widths) -> tuple[float, float]:
        """Mean width of weights, weighted by parameters, and of activations, weighted by multiply-accumulates."""
        weights = sum(widths[name][0] * count for name, count in self.parameters.items())
        activations = sum(widths[name][1] * count for name, count in self.macs.items())
        return weights / sum(self.parameters.values()), activations / sum(self.macs.values())

    def file_bytes(self, widths: Widths) -> float:
        """Size of the ONNX file; rather too large than too small. Only where sizes were measured."""
        return self.other_bytes + sum(self.stored[name, widths[name][0]] for name in self.parameters)

    def constraints(self, budget: Budget) -> list[Constraint]:
        """The budget as inequalities."""
        if budget.kind == "bytes":
            return [Constraint(self.stored, {}, budget.most - self.other_bytes)]
        if budget.kind == "latency":
            assert self.latency is not None
            return [Constraint({}, self.latency.layers, budget.most - self.latency.other)]
        return [
            Constraint(_bits_of(self.parameters), {}, budget.most * sum(self.parameters.values())),
            Constraint({}, _bits_of(self.macs), budget.most * sum(self.macs.values())),
        ]

    def describe(self, widths: Widths) -> dict[str, float]:
        """Mean widths, and what else was measured, as the trade-off stores them."""
        weights, activations = self.mean_bits(widths)
        found = {"mean_weight_bits": weights, "mean_activation_bits": activations}
        if self.stored:
            found["file_bytes"] = self.file_bytes(widths)
        if self.latency is not None:
            found["latency_ms"] = self.latency.of(widths)
        return found


def _bits_of(counts: dict[str, int]) -> Prices:
    return {(name, bits): float(count * bits) for name, count in counts.items() for bits in WIDTHS}


def _other_bytes(graph: Graph, recipe: Recipe, stored: Prices) -> float:
    """Bytes of a file that are not weight codes, measured on the file of one recipe, and a little for its nodes."""
    model = emit(graph.to("cpu"), replace(recipe), input_type="float32", producer="")
    codes = sum(stored[name, quant.bits] for name, quant in recipe.weights.items())
    return float(model.ByteSize() - codes) * (1 + _SLACK)


@cache
def _stored_bytes(count: int, bits: int) -> int:
    """Bytes that so many codes of a width take in a file, measured on codes of which no two are alike."""
    builder = OnnxBuilder()
    codes = np.random.default_rng(0).integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (count, 1), np.int8)
    result = store_packed(builder, _NAME, codes, bits)
    output = value_info(result, onnx.TensorProto.INT8, list(codes.shape))
    return int(builder.model([], [output], "").ByteSize())

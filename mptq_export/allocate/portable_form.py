"""The portable form of a runtime, as a search sees it."""

import math
from dataclasses import dataclass

import torch

from mptq_export.allocate.bit_operations import BitOperations
from mptq_export.allocate.form import Catalogue, Sizes
from mptq_export.allocate.latency import LatencyTable
from mptq_export.allocate.portable_catalogue import PortableCatalogue, collect_portable, possible_sites
from mptq_export.allocate.search_space import SearchSpace
from mptq_export.allocate.units import layers, weight_counts
from mptq_export.allocate.width_domain import WidthDomain
from mptq_export.capture.graph import Graph
from mptq_export.capture.ops import ToPixels
from mptq_export.emit.portable.emitter import emit_portable
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.method import Method
from mptq_export.quantize.portable.form import Portable
from mptq_export.recipe.schema import Recipe
from mptq_export.support.errors import MptqError
from mptq_export.support.processes.group import Group

#: Bytes of a conversion: QuantizeLinear, DequantizeLinear, a scale, a zero point and two tensors' types, with names as
#: long as most; rather too many.
_CONVERSION = 700

_INT4_BITS = 4


@dataclass(frozen=True)
class PortableSearchForm:
    """Layers that write an output or read pixels run at the width of the residual where that is wider.

    Attributes:
        quantizing: the form of the file.
    """

    quantizing: Portable
    timed: bool = False

    def fixed(self, graph: Graph, domain: WidthDomain) -> dict[str, int]:
        """As the protocol says: the widths that are the same whatever is asked for."""
        nodes = layers(graph)
        asked = [dict.fromkeys((node.name for node in nodes), (8, bits)) for bits in domain.activations]
        each = [self.quantizing.sites(graph, widths.__getitem__) for widths in asked]
        found = {node.name: {where.bits(where.operand(node, 0)) for where in each} for node in nodes}
        return {name: min(bits) for name, bits in found.items() if len(bits) == 1}

    def operations(self, graph: Graph, domain: WidthDomain) -> BitOperations:
        """As the protocol says."""
        return BitOperations.of(graph, self.fixed(graph, domain), self.quantizing.form.right_bits)

    def middle(self, domain: WidthDomain) -> tuple[int, int]:
        """The narrowest: at the others there is little to win."""
        return domain.lowest

    def sizes(self, graph: Graph, recipe: Recipe, space: SearchSpace) -> Sizes:
        """As the protocol says.

        What is not weight codes is measured on the file of the recipe; there is room for every conversion that some
        widths need.
        """
        counts = weight_counts(graph)
        low = {layer: self.middle(space.domain) for layer in space.start}
        where = self.quantizing.sites(graph.to("cpu").cast(torch.float32), low.__getitem__)
        pixels = any(isinstance(node.op, ToPixels) for node in graph)
        model = emit_portable(where.graph, recipe, where, input_type="uint8" if pixels else "float32", producer="")
        stored = {
            (name, bits): _code_bytes(tuple(graph[name].params["weight"].shape), bits)
            for name in counts
            for bits in self.quantizing.form.weight_bits
        }
        codes = sum(stored[name, recipe.weights[name].bits] for name in counts)
        more = len(possible_sites(self.quantizing, graph, space)) - len(where.all)
        return Sizes(float(model.ByteSize() - codes + _CONVERSION * more), stored)

    def sizes_of(self, sizes: Sizes, _catalogue: Catalogue) -> Sizes:
        """As the protocol says: its weights have no regions."""
        return sizes

    def collect(
        self, calibrated: CalibratedGraph, method: Method, space: SearchSpace, group: Group | None = None
    ) -> PortableCatalogue:
        """As the protocol says."""
        return collect_portable(self.quantizing, calibrated, method, space, group)

    def latency(self, _graph: Graph, _recipe: Recipe, _catalogue: Catalogue, _space: SearchSpace) -> LatencyTable:
        """Never asked for: `timed` is false.

        Raises:
            MptqError: always.
        """
        raise MptqError("a file in the portable form is not timed on this machine: it runs elsewhere")


def _code_bytes(shape: tuple[int, ...], bits: int) -> float:
    """Bytes of the codes of a weight and of its zero points, one a channel: INT4 has two a byte."""
    count = math.prod(shape) + shape[0]
    return float(count if bits > _INT4_BITS else (count + 2) // 2)

"""The exact form, as a search sees it."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import onnx

from mptq_export.allocate.bit_operations import BitOperations
from mptq_export.allocate.catalogue import ExactCatalogue, collect_catalogue
from mptq_export.allocate.form import Catalogue, Sizes
from mptq_export.allocate.latency import LatencyTable, measure_latency_table
from mptq_export.allocate.search_space import SearchSpace
from mptq_export.allocate.units import layers, weight_counts
from mptq_export.allocate.width_domain import WidthDomain
from mptq_export.capture.graph import Graph
from mptq_export.capture.ops import PatchEmbed, Softmax
from mptq_export.emit.builder import OnnxBuilder, value_info
from mptq_export.emit.exact.emitter import emit
from mptq_export.emit.exact.weight_storage import store_packed, stored_bytes
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.exact_form import EXACT, ExactForm
from mptq_export.quantize.method import Method
from mptq_export.recipe.schema import WIDTHS, Recipe, WeightQuant
from mptq_export.support.processes.group import Group

#: How much larger than measured on one file the part that is not weight codes may be on another.
_SLACK = 0.05

#: A name as long as that of most weights.
_NAME = "blocks.10.attn.qkv.weight"

#: Pixels are codes of 8 bits, whatever was asked for.
_PIXEL_BITS = 8


@dataclass(frozen=True)
class ExactSearchForm:
    """Every layer has the widths that it is given; the pixels have 8 bits."""

    quantizing: ExactForm = EXACT
    timed: bool = True

    def fixed(self, _graph: Graph, _domain: WidthDomain) -> dict[str, int]:
        """None."""
        return {}

    def operations(self, graph: Graph, _domain: WidthDomain) -> BitOperations:
        """As the protocol says."""
        pixels = {node.name: _PIXEL_BITS for node in layers(graph) if isinstance(node.op, PatchEmbed)}
        return BitOperations.of(graph, pixels, None)

    def middle(self, domain: WidthDomain) -> tuple[int, int]:
        """The middle of the range."""
        weights, activations = ((low + high) // 2 for low, high in zip(domain.lowest, domain.highest, strict=True))
        return weights, activations

    def sizes(self, graph: Graph, recipe: Recipe, _space: SearchSpace) -> Sizes:
        """As the protocol says; what is not weight codes is measured on the file of the recipe."""
        counts = weight_counts(graph)
        stored = {(name, bits): float(_stored_bytes(count, bits)) for name, count in counts.items() for bits in WIDTHS}
        model = emit(graph.to("cpu"), replace(recipe), input_type="float32", producer="")
        codes = sum(stored[name, recipe.weights[name].bits] for name in counts)
        return Sizes(float(model.ByteSize() - codes) * (1 + _SLACK), stored)

    def sizes_of(self, sizes: Sizes, catalogue: Catalogue) -> Sizes:
        """As the protocol says: weights in regions have outliers, and tables of levels."""
        own = {key: float(stored_bytes(quant)) for key, quant in catalogue.weights.items() if quant.regions is not None}
        return replace(sizes, stored=sizes.stored | own)

    def collect(
        self, calibrated: CalibratedGraph, method: Method, space: SearchSpace, group: Group | None = None
    ) -> ExactCatalogue:
        """As the protocol says."""
        return collect_catalogue(calibrated, method, space, group)

    def latency(self, graph: Graph, recipe: Recipe, catalogue: Catalogue, space: SearchSpace) -> LatencyTable:
        """As the protocol says: the model is profiled at every width of activations."""
        assert isinstance(catalogue, ExactCatalogue)
        return measure_latency_table(
            graph, lambda bits: _at_width(graph, recipe, catalogue, space, bits), space.domain.activations
        )


EXACT_SEARCH = ExactSearchForm()


def with_regions(sizes: Sizes, weights: dict[tuple[str, int], WeightQuant]) -> Sizes:
    """Sizes with the bytes of the codes that have regions.

    Args:
        sizes: as if all whole numbers of a width were codes.
        weights: codes by (layer, bits).
    """
    found = dict(sizes.stored)
    for key in found.keys() & weights.keys():
        if weights[key].regions is not None:
            found[key] += max(0, stored_bytes(weights[key]) - stored_bytes(replace(weights[key], regions=None)))
    return replace(sizes, stored=found)


@cache
def _stored_bytes(count: int, bits: int) -> int:
    """Bytes that so many codes of a width take in a file, measured on codes of which no two are alike."""
    builder = OnnxBuilder()
    codes = np.random.default_rng(0).integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (count, 1), np.int8)
    result = store_packed(builder, _NAME, codes, bits)
    output = value_info(result, onnx.TensorProto.INT8, list(codes.shape))
    return int(builder.model([], [output], "").ByteSize())


def _at_width(graph: Graph, recipe: Recipe, catalogue: ExactCatalogue, space: SearchSpace, bits: int) -> Recipe:
    """A recipe with all activations at one width, for its time alone."""
    widths = {layer: space.pinned.get(layer, (space.domain.weights[-1], bits)) for layer in space.start}
    chosen = {
        key: catalogue.activations[key, widths[layer][1]]
        for key, layer in catalogue.decides.items()
        # attention is certified with the widest's scores
        if not isinstance(graph[key.rpartition(".")[0]].op, Softmax)
    }
    weights = {name: catalogue.weights[name, widths[name][0]] for name in recipe.weights}
    return replace(recipe, activations=catalogue.widest | chosen, weights=weights)

"""Mean bits, bytes and budgets, by hand."""

import numpy as np
import pytest
from tiny_models import prepared, recipe

from mptq_export.allocate.bit_operations import BitOperations
from mptq_export.allocate.budget import Budget
from mptq_export.allocate.catalogue import ExactCatalogue
from mptq_export.allocate.constraint import as_limit, cheapest
from mptq_export.allocate.costs import Costs
from mptq_export.allocate.exact_form import EXACT_SEARCH
from mptq_export.allocate.form import Sizes
from mptq_export.allocate.greedy_mp import Limit
from mptq_export.allocate.latency import LatencyTable
from mptq_export.allocate.search_space import SearchSpace
from mptq_export.allocate.units import Unit, layers
from mptq_export.allocate.width_domain import WidthDomain
from mptq_export.capture.ops import Matmul, PatchEmbed
from mptq_export.emit.exact.emitter import emit
from mptq_export.recipe.schema import WeightQuant, WeightRegions

#: Two layers with weights and a matmul: 100 and 300 weights; 1000, 500 and 500 multiply-accumulates.
SMALL = Costs({"a": 100, "b": 300}, {"a": 1000, "b": 500, "m": 500})
#: All widths from 3 on may be had; what moves does not matter.
SPACE = SearchSpace([], {}, WidthDomain.of_range(range(3, 9)))
WIDTHS = {"a": (8, 4), "b": (4, 8), "m": (8, 6)}


def limit_of(costs: Costs, budget: str) -> Limit:
    return as_limit(costs.constraints(Budget.parse(budget)), SPACE)


def test_means_are_weighted():
    assert SMALL.mean_bits(WIDTHS) == (5.0, 5.5)


def test_weights_of_a_matmul_and_pixels_do_not_count():
    costs = Costs.of(prepared("vit"))
    names = {type(node.op): node.name for node in layers(prepared("vit"))}
    widths = {node.name: (5, 6) for node in layers(prepared("vit"))}
    assert costs.mean_bits(widths) == (5, 6)
    assert costs.mean_bits({**widths, names[Matmul]: (8, 6), names[PatchEmbed]: (5, 8)}) == (5, 6)
    heavier = costs.mean_bits({**widths, names[PatchEmbed]: (8, 6)})[0]
    total = 32 * 3 * 64 + 2 * (32 * 96 + 32 * 32 + 2 * 32 * 128) + 32 * 7
    assert heavier == pytest.approx(5 + 3 * 32 * 3 * 64 / total)


def test_both_means_must_be_within_the_budget():
    assert limit_of(SMALL, "5.5").met(WIDTHS)
    assert not limit_of(SMALL, "5.4").met(WIDTHS)
    assert not limit_of(SMALL, "4.9").met({**WIDTHS, "a": (8, 2)})


def test_only_what_is_over_the_budget_gains():
    gain = limit_of(SMALL, "5").gain  # the weights are within it, the activations are not
    assert gain(Unit("a", "weights", 100, 0), WIDTHS) == 0
    assert gain(Unit("m", "activations", 0, 500), WIDTHS) == 0.25 / 5
    assert gain(Unit("a", "both", 100, 1000), WIDTHS) == 0.5 / 5
    assert gain(Unit("a", "both", 100, 1000), {**WIDTHS, "b": (8, 8)}) == pytest.approx(0.75 / 5)


def test_a_size_counts_weights_alone():
    stored = {(name, bits): count * bits / 8 for name, count in SMALL.parameters.items() for bits in range(2, 9)}
    costs = Costs(SMALL.parameters, SMALL.macs, Sizes(50.0, stored))
    assert costs.file_bytes(WIDTHS) == 300
    limit = limit_of(costs, "0.3kB")
    assert limit.met(WIDTHS)
    over = {**WIDTHS, "a": (8, 4), "b": (5, 2)}
    assert not limit.met(over)
    assert limit.gain(Unit("m", "activations", 0, 500), over) == 0
    assert limit.gain(Unit("b", "weights", 300, 0), over) == 300 / 8 / 250


def test_a_latency_counts_activations_alone():
    times = {("a", 4): 3.0, ("a", 8): 2.0, ("b", 8): 1.0, ("b", 4): 0.5, ("m", 6): 0.25, ("m", 8): 0.25}
    costs = Costs(SMALL.parameters, SMALL.macs, latency=LatencyTable(times, 10.0))
    assert costs.describe(WIDTHS)["latency_ms"] == 14.25
    (constraint,) = costs.constraints(Budget.parse("14ms"))
    assert not constraint.met(WIDTHS)
    assert constraint.met({**WIDTHS, "b": (8, 4)})
    assert constraint.price(Unit("a", "activations", 0, 1000), 4, WIDTHS) == 3
    assert constraint.price(Unit("a", "both", 100, 1000), 8, WIDTHS) == 2
    assert constraint.price(Unit("a", "weights", 100, 0), 8, WIDTHS) == 0


def test_small_weights_stop_where_they_are_smallest():
    """A weight that is packed at 4 bits alone: steps towards it count, steps below it do not."""
    sizes = {3: 100.0, 4: 60.0, 5: 100.0, 6: 100.0}
    costs = Costs({"a": 100}, {"a": 1}, Sizes(0.0, {("a", bits): size for bits, size in sizes.items()}))
    unit = Unit("a", "weights", 100, 0)
    space = SearchSpace([unit], {"a": (6, 6)}, WidthDomain.of_range(range(3, 7)))
    limit = as_limit(costs.constraints(Budget.parse("0.05kB")), space)
    assert [limit.gain(unit, {"a": (bits, 8)}) > 0 for bits in sizes] == [False, False, True, True]
    by_size, by_bits = (costs.constraints(Budget.parse(text)) for text in ("0.06kB", "3"))
    assert cheapest(by_size, space) == {"a": (4, 6)}
    assert cheapest(by_bits, space) == {"a": (3, 6)}


def test_bit_operations_are_products_of_both_widths():
    """Of a layer, of a product of two activations, and of one whose activations do not move."""
    counted = BitOperations({"a": 1000, "b": 500, "m": 500}, frozenset("m"), {"b": 8})
    assert counted.total(WIDTHS) == 1000 * 8 * 4 + 500 * 4 * 8 + 500 * 6 * 6
    assert counted.at_8_bits == 2000 * 64
    halves = BitOperations({"m": 500}, frozenset("m"), {}, right=8)  # as on HTP: the second factor has 8 bits
    assert halves.of_layer("m", (8, 16)) == 500 * 16 * 8
    costs = Costs(SMALL.parameters, SMALL.macs, operations=counted)
    assert limit_of(costs, "52%").met(WIDTHS)  # 66000 of 128000
    assert not limit_of(costs, "51%").met(WIDTHS)
    assert limit_of(costs, "0.066MBOPs").met(WIDTHS)
    assert not limit_of(costs, "0.065MBOPs").met(WIDTHS)
    assert limit_of(costs, "0.05MBOPs").gain(Unit("a", "weights", 100, 0), WIDTHS) == 1000 * 4 / 0.05e6
    assert limit_of(costs, "0.05MBOPs").gain(Unit("a", "activations", 0, 1000), WIDTHS) == 1000 * 8 / 0.05e6


def test_bit_operations_of_a_model_count_pixels_at_their_width():
    graph = prepared("vit")
    names = {type(node.op): node.name for node in layers(graph)}
    counted = EXACT_SEARCH.operations(graph, SPACE.domain)
    assert counted.of_layer(names[PatchEmbed], (4, 3)) == 16 * 32 * 3 * 64 * 4 * 8
    assert counted.of_layer(names[Matmul], (4, 3)) == counted.macs[names[Matmul]] * 3 * 3
    assert counted.total({node.name: (8, 8) for node in layers(graph)}) == counted.at_8_bits


@pytest.mark.parametrize("bits", [3, 4, 6, 7, 8])
def test_files_are_as_large_as_estimated(bits: int):
    """Measured on the recipe of another width; small weights are packed at 4 bits alone."""
    costs = Costs.of(prepared("vit"), sizes=EXACT_SEARCH.sizes(prepared("vit"), recipe("vit", (5, 8)), SPACE))
    made = recipe("vit", (bits, 8))
    size = emit(prepared("vit"), made, input_type="float32", producer="").ByteSize()
    estimate = costs.file_bytes({node.name: (bits, 8) for node in layers(prepared("vit"))})
    assert size <= estimate < 1.06 * size


def test_only_what_was_measured_is_described():
    graph = prepared("vit")
    sizes = EXACT_SEARCH.sizes(graph, recipe("vit"), SPACE)
    with_size, without = Costs.of(graph, sizes=sizes), Costs.of(graph)
    assert without.sizes is None
    assert sizes.other > 2000
    widths = dict.fromkeys(with_size.macs | with_size.parameters, (4, 5))
    means = {"mean_weight_bits": 4.0, "mean_activation_bits": 5.0}
    assert without.describe(widths) == means
    assert with_size.describe(widths) == {**means, "file_bytes": with_size.file_bytes(widths)}


def test_codes_in_regions_cost_what_they_take():
    """Outliers are stored beside their core: a layer with many is larger at the same width."""
    generator, scale = np.random.default_rng(0), np.ones(64, np.float32)
    levels = (-3, -1, 1, 3)
    core = generator.choice(np.array(levels, np.int8), (64, 64))
    outliers = core + np.where(generator.random(core.shape) < 0.05, 8, 0).astype(np.int8)
    quants = {
        ("plain", 2): WeightQuant(core, scale, scale, 2, "symmetric", ""),
        ("core", 2): WeightQuant(core, scale, scale, 2, "symmetric", "", WeightRegions(levels)),
        ("outliers", 2): WeightQuant(outliers, scale, scale, 2, "symmetric", "", WeightRegions(levels, 3)),
    }
    nominal = dict.fromkeys(quants, 1000.0)
    found = EXACT_SEARCH.sizes_of(Sizes(7.0, nominal), ExactCatalogue(weights=quants))
    assert found.other == 7.0 and found.stored["plain", 2] == 1000.0
    assert 64 * 64 / 4 <= found.stored["core", 2] < found.stored["outliers", 2]

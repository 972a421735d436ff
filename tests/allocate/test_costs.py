"""Mean bits, bytes and budgets, by hand."""

import pytest
from tiny_models import prepared, recipe

from mptq_export.allocate.budget import Budget
from mptq_export.allocate.costs import Costs
from mptq_export.allocate.units import Unit, layers, units
from mptq_export.emit.emitter import emit

#: Two layers with weights and a matmul: 100 and 300 weights; 1000, 500 and 500 multiply-accumulates.
SMALL = Costs({"a": 100, "b": 300}, {"a": 1000, "b": 500, "m": 500}, 0.0, {})
WIDTHS = {"a": (8, 4), "b": (4, 8), "m": (8, 6)}


def test_means_are_weighted():
    assert SMALL.mean_bits(WIDTHS) == (5.0, 5.5)
    assert SMALL.weight_bytes(WIDTHS) == 100 + 150


def test_weights_of_a_matmul_and_pixels_do_not_count():
    costs = Costs.of(prepared("vit"))
    names = {node.op: node.name for node in layers(prepared("vit"))}
    widths = {node.name: (5, 6) for node in layers(prepared("vit"))}
    assert costs.mean_bits(widths) == (5, 6)
    assert costs.mean_bits({**widths, names["matmul"]: (8, 6), names["patch_embed"]: (5, 8)}) == (5, 6)
    heavier = costs.mean_bits({**widths, names["patch_embed"]: (8, 6)})[0]
    total = 32 * 3 * 64 + 2 * (32 * 96 + 32 * 32 + 2 * 32 * 128) + 32 * 7
    assert heavier == pytest.approx(5 + 3 * 32 * 3 * 64 / total)


def test_both_means_must_be_within_the_budget():
    limit = SMALL.limit(Budget.parse("5.5"), 3)
    assert limit.met(WIDTHS)
    assert not SMALL.limit(Budget.parse("5.4"), 3).met(WIDTHS)
    assert not SMALL.limit(Budget.parse("4.9"), 3).met({**WIDTHS, "a": (8, 2)})


def test_only_what_is_over_the_budget_gains():
    limit = SMALL.limit(Budget.parse("5"), 3)  # the weights are within it, the activations are not
    assert limit.gain(Unit("a", "weights", 100, 0), WIDTHS) == 0
    assert limit.gain(Unit("m", "activations", 0, 500), WIDTHS) == 0.25
    assert limit.gain(Unit("a", "both", 100, 1000), WIDTHS) == 0.5
    assert limit.gain(Unit("a", "both", 100, 1000), {**WIDTHS, "b": (8, 8)}) == 0.75


def test_a_size_counts_weights_alone():
    stored = {(name, bits): count * bits // 8 for name, count in SMALL.parameters.items() for bits in range(2, 9)}
    costs = Costs(SMALL.parameters, SMALL.macs, 50.0, stored)
    assert costs.file_bytes(WIDTHS) == 300
    limit = costs.limit(Budget.parse("0.3kB"), 3)
    assert limit.met(WIDTHS)
    assert not limit.met({**WIDTHS, "a": (8, 4), "b": (5, 2)})
    assert limit.gain(Unit("m", "activations", 0, 500), WIDTHS) == 0
    assert limit.gain(Unit("b", "weights", 300, 0), WIDTHS) == 150 - 112


def test_small_weights_stop_where_they_are_smallest():
    """A weight that is packed at 4 bits alone: steps towards it count, steps below it do not."""
    sizes = {3: 100, 4: 60, 5: 100, 6: 100}
    costs = Costs({"a": 100}, {"a": 1}, 0.0, {("a", bits): size for bits, size in sizes.items()})
    unit, budget = Unit("a", "weights", 100, 0), Budget.parse("0.06kB")
    limit = costs.limit(budget, 3)
    assert [limit.gain(unit, {"a": (bits, 8)}) > 0 for bits in sizes] == [False, False, True, True]
    assert costs.lowest(budget, {"a": (6, 6)}, [unit], range(3, 7)) == {"a": (4, 6)}
    assert costs.lowest(Budget.parse("3"), {"a": (6, 6)}, [unit], range(3, 7)) == {"a": (3, 6)}


@pytest.mark.parametrize("tied", [False, True])
def test_inequalities_say_the_same_as_the_limit(tied: bool):
    graph, budget = prepared("vit"), Budget.parse("4.5")
    costs = Costs.of(graph)
    start = {node.name: (8, 8) for node in layers(graph)} | {"head": (7, 6)}
    moving = units(graph, tied=tied, pinned=("head",))
    rows, answers = costs.rows(budget, moving, start), set()
    for seed in range(40):
        widths = start
        for index, unit in enumerate(moving):
            widths = unit.applied(widths, 3 + (seed * (index + 3) + index * index) % (1 + seed % 6))
        within = all(
            sum(c * u.bits(widths) for c, u in zip(one, moving, strict=True)) <= most + 1e-6 for one, most in rows
        )
        assert within == costs.limit(budget, 3).met(widths)
        answers.add(within)
    assert answers == {True, False}


@pytest.mark.parametrize("bits", [3, 4, 6, 7, 8])
def test_files_are_as_large_as_estimated(bits: int):
    """Measured on the recipe of another width; small weights are packed at 4 bits alone."""
    costs = Costs.of(prepared("vit"), recipe("vit", (5, 8)))
    made = recipe("vit", (bits, 8))
    size = emit(prepared("vit"), made, input_type="float32", metadata={}, producer="").ByteSize()
    estimate = costs.file_bytes({node.name: (bits, 8) for node in layers(prepared("vit"))})
    assert size <= estimate < 1.06 * size


def test_the_rest_of_a_file_is_measured():
    graph = prepared("vit")
    with_size, without = Costs.of(graph, recipe("vit")), Costs.of(graph)
    assert without.other_bytes == 0
    assert with_size.other_bytes > 2000
    widths = dict.fromkeys(with_size.macs | with_size.parameters, (4, 5))
    assert without.describe(widths) == "mean widths 4.00/5.00"
    assert f"{with_size.file_bytes(widths) / 1e6:.2f} MB" in with_size.describe(widths)

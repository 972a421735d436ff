"""From images to a recipe: everything is there, at its width, the same every time, and nothing is kept in memory."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_models import KINDS, images, prepared, quantized, quantized_anew

from mptq_export.calibrate.sites import sites
from mptq_export.calibrate.statistics import collect
from mptq_export.capture.evaluate import evaluate
from mptq_export.capture.graph import Graph, Node
from mptq_export.capture.ops import Activation, LayerNorm, Linear, Matmul, PatchEmbed
from mptq_export.quantize.build_recipe import build_recipe
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.method import BEST, METHODS, MINMAX, PAPER, Method
from mptq_export.quantize.walk.walk import Walk
from mptq_export.quantize.weights.code_range import PAIR_LIMIT
from mptq_export.quantize.weights.quantize_weight import pair_sums
from mptq_export.recipe.schema import Recipe
from mptq_export.recipe.weight_levels import outliers
from mptq_export.transform.fold_sq_b import sq_b_readers

ALL = {"minmax": MINMAX, "paper": PAPER, "best": BEST}


def assert_complete(graph: Graph, made: Recipe) -> None:
    """Every site and every layer has a quantizer that the emitter can use."""
    assert set(made.activations) == {site.key for site in sites(graph)}
    layers = {node.name: node for node in graph if isinstance(node.op, Linear | PatchEmbed)}
    assert set(made.weights) == set(layers)
    for quant in made.activations.values():
        assert quant.scale > 0
        assert 0 <= quant.low <= quant.zero_point <= quant.high <= 255
        assert quant.reason
    for name, stored in made.weights.items():
        weight = layers[name].params["weight"]
        assert stored.codes.dtype == np.int8
        assert stored.scale.dtype == stored.bias.dtype == np.float32
        assert stored.codes.shape == (weight.shape[0], weight[0].numel())
        assert stored.scale.shape == stored.bias.shape == (weight.shape[0],)
        assert np.isfinite(stored.scale).all()
        assert np.isfinite(stored.bias).all()
        assert stored.codes.min() > -128
        assert pair_sums(stored.codes).max() <= PAIR_LIMIT
        assert stored.reason


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("kind", KINDS)
def test_every_method_gives_a_complete_recipe_for_every_model(kind: str, method: str):
    graph, made = quantized(kind, (4, 4), ALL[method])
    assert_complete(graph, made)
    norms = {
        node.name for node in prepared(kind) if isinstance(node.op, LayerNorm) and sq_b_readers(prepared(kind), node)
    }
    assert set(made.sq_b) == (norms if method != "minmax" else set())
    with torch.no_grad():
        expected = evaluate(prepared(kind), images(kind, 3, seed=9))
        found = evaluate(graph, images(kind, 3, seed=9))
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()  # all transforms keep the float function


@pytest.mark.parametrize("bits", [(8, 8), (6, 6), (3, 8), (8, 3), (2, 2)])
@pytest.mark.parametrize("method", ALL)
def test_codes_have_the_width_that_was_asked_for(bits: tuple[int, int], method: str):
    graph, made = quantized("vit", bits, ALL[method])
    assert_complete(graph, made)
    assert {quant.bits for quant in made.weights.values()} == {bits[0]}
    assert {quant.form for quant in made.weights.values()} == {"pair_safe" if bits[0] == 8 else "narrow"}
    for quant in made.weights.values():
        assert (quant.regions is not None) == (bits[0] <= ALL[method].weight_regions)
        if quant.regions is not None:
            continue
        assert quant.codes.max() <= 2 ** (bits[0] - 1) - 1
        assert quant.codes.min() >= -(2 ** (bits[0] - 1))
    for site in sites(graph):
        quant, wide = made.activations[site.key], site.kind in ("pixels", "scores", "activation")
        assert quant.bits == (8 if wide else bits[1]), site.key
        assert quant.regions or quant.high == 2**quant.bits - 1


@pytest.mark.parametrize(("bits", "there"), [(2, True), (4, True), (5, False)])
def test_weights_of_few_bits_have_regions_where_that_is_asked_for(bits: int, there: bool):
    for quant in quantized("vit", (bits, 8), replace(BEST, weight_regions=4))[1].weights.values():
        assert (quant.regions is not None) == there
        if quant.regions is not None:
            assert len(quant.regions.levels) == 2**bits
            assert outliers(quant).mean() < 0.03


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("kind", ["vit", "swin", "deit_distilled"])
def test_every_layer_may_have_its_own_width(kind: str, method: str):
    asked = [node.name for node in prepared(kind) if isinstance(node.op, Linear | PatchEmbed | Matmul)]
    widths = {name: (2 + i % 7, 2 + (3 * i + 1) % 7) for i, name in enumerate(asked)}
    graph, made = quantized(kind, widths.__getitem__, ALL[method])
    assert_complete(graph, made)
    assert {name: quant.bits for name, quant in made.weights.items()} == {n: widths[n][0] for n in made.weights}
    for site in sites(graph):
        wide = site.kind in ("pixels", "scores", "activation")
        assert made.activations[site.key].bits == (8 if wide else widths[site.node.name][1]), site.key


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["vit", "swin"])
def test_the_same_images_give_the_same_recipe(kind: str, method: str):
    (first_graph, first), (second_graph, second) = (quantized_anew(kind, (4, 4), METHODS[method]) for _ in range(2))
    assert first.activations == second.activations
    assert first.exponents == second.exponents
    for name, quant in first.weights.items():
        assert np.array_equal(quant.codes, second.weights[name].codes)
        assert np.array_equal(quant.scale, second.weights[name].scale)
        assert np.array_equal(quant.bias, second.weights[name].bias)
    for name, sq_b in first.sq_b.items():
        assert np.array_equal(sq_b.scale, second.sq_b[name].scale)
        assert sq_b.strength == second.sq_b[name].strength
    for node in first_graph:
        assert all(torch.equal(value, second_graph[node.name].params[key]) for key, value in node.params.items())


@pytest.mark.parametrize("method", ALL)
def test_the_graph_that_was_given_is_left_as_it_was(method: str):
    before = {(n.name, key): value.clone() for n in prepared("vit") for key, value in n.params.items()}
    graph, _ = quantized_anew("vit", (4, 4), ALL[method])
    assert all(torch.equal(prepared("vit")[name].params[key], value) for (name, key), value in before.items())
    assert (graph is prepared("vit")) == (method == "minmax")


def test_every_node_is_ticked_once_and_no_value_outlives_its_last_reader():
    graph, x = prepared("vit"), images("vit", 8)
    calibrated = CalibratedGraph(graph, collect(graph, [x.numpy()]), x).with_importance(BEST)
    walk = Walk(calibrated, lambda _name: (4, 4), BEST)
    values = walk.state.values
    ticked: list[str] = []
    in_flight: list[int] = []

    def tick(node: Node) -> None:
        ticked.append(node.name)
        unread = {name for later in graph if later.name not in ticked for name in later.inputs}
        assert set(values.quantized) == set(values.floats) <= unread | {graph.output}
        in_flight.append(len(values.quantized))

    walk.run(tick)
    assert sorted(ticked) == sorted(graph.nodes)
    assert set(values.quantized) == {graph.output}
    assert max(in_flight) < 8


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_one_image_is_enough_to_run(count: int, method: str):
    graph, x = prepared("vit"), images("vit", count)
    calibrated = CalibratedGraph(graph, collect(graph, [x.numpy()]), x)
    result, made = build_recipe(calibrated, lambda _name: (4, 4), ALL[method])
    assert_complete(result, made)
    assert made.proof == []


def test_pixels_are_their_own_codes():
    for method in ALL.values():
        quant = quantized("vit", (3, 3), method)[1].activations["patch_embed.proj.input"]
        assert (quant.scale, quant.zero_point, quant.low, quant.high, quant.bits) == (1.0, 0, 0, 255, 8)


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("kind", KINDS)
def test_q_k_and_v_share_a_zero_point(kind: str, method: str):
    graph, made = quantized(kind, (8, 4), ALL[method])
    operands = [s for s in sites(graph) if s.kind == "matmul" and isinstance(graph.root(s.value).op, Linear)]
    assert {made.activations[site.key].zero_point for site in operands} == {8}


def test_layers_that_read_one_value_at_one_width_share_its_codes():
    graph, made = quantized("deit_distilled", (4, 4), BEST)
    by_value: dict[str, set[float]] = {}
    for site in sites(graph):
        if site.kind == "linear":
            by_value.setdefault(site.value, set()).add(made.activations[site.key].scale)
    assert all(len(scales) == 1 for scales in by_value.values())


@pytest.mark.parametrize("regions", [False, True])
def test_regions_come_only_where_they_were_asked_for(regions: bool):
    graph, made = quantized("vit", (4, 4), Method(opt_m=regions))
    used = {key for key, quant in made.activations.items() if quant.regions}
    after_gelu = {s.key for s in sites(graph) if s.kind == "linear" and isinstance(graph.root(s.value).op, Activation)}
    assert used <= after_gelu
    assert bool(used) == regions


def test_reasons_name_what_was_done():
    plain = {quant.reason for quant in quantized("vit", (4, 4), MINMAX)[1].weights.values()}
    assert plain == {"min/max scales"}
    for quant in quantized("vit", (4, 4), BEST)[1].weights.values():
        assert "scales by error" in quant.reason
        assert "error-compensated rounding" in quant.reason
        assert "bias cancels the mean error" in quant.reason

"""From statistics to a recipe: activation quantizers, grids, score biases."""

import math

import numpy as np
import pytest
from tiny_models import KINDS, images, prepared, recipe

from mptq_export.calibrate.sites import sites
from mptq_export.calibrate.statistics import Range, collect
from mptq_export.quantize.build import affine, symmetric
from mptq_export.quantize.grids import RANGE, grid_exponents, streams
from mptq_export.quantize.score_bias import bias_codes

RANGES = {
    "plain": (-1.3, 2.9),
    "positive": (0.2, 7.0),
    "negative": (-4.0, -1.0),
    "constant": (0.7, 0.7),
    "constant below zero": (-0.7, -0.7),
    "zero": (0.0, 0.0),
    "tiny": (-1e-30, 1e-30),
    "huge": (-1e30, 3e30),
}


def seen(name: str) -> Range:
    low, high = RANGES[name]
    return Range(low, high, high)


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("name", RANGES)
def test_affine_codes_cover_the_range_and_hold_zero(name: str, bits: int):
    quant = affine(seen(name), bits)
    assert quant.scale > 0
    assert quant.scale == float(np.float32(quant.scale))
    assert (quant.low, quant.high, quant.bits) == (0, 2**bits - 1, bits)
    assert 0 <= quant.zero_point <= quant.high
    for value in (*RANGES[name], 0.0):
        code = value / quant.scale + quant.zero_point
        assert -0.51 <= code <= quant.high + 0.51
    assert (0 - quant.zero_point) * quant.scale + quant.zero_point * quant.scale == 0


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("name", RANGES)
def test_symmetric_codes_are_around_the_middle(name: str, bits: int):
    quant = symmetric(seen(name), bits)
    assert quant.scale > 0
    assert quant.zero_point == 2 ** (bits - 1)
    for value in RANGES[name]:
        assert -0.01 <= value / quant.scale + quant.zero_point <= quant.high + 0.01


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [(8, 8), (6, 6), (4, 4), (3, 8), (8, 3), (2, 2)])
def test_a_recipe_covers_every_site_at_its_width(kind: str, bits: tuple[int, int]):
    graph, made = prepared(kind), recipe(kind, bits)
    assert set(made.activations) == {site.key for site in sites(graph)}
    assert set(made.weights) == {node.name for node in graph if node.op in ("linear", "patch_embed")}
    assert {quant.bits for quant in made.weights.values()} == {bits[0]}
    for site in sites(graph):
        wide = site.kind in ("pixels", "scores", "gelu")
        assert made.activations[site.key].bits == (8 if wide else bits[1]), site.key
    assert all(quant.reason for quant in (*made.activations.values(), *made.weights.values()))


def test_pixels_are_their_own_codes():
    quant = recipe("vit").activations["patch_embed.proj.input"]
    assert (quant.scale, quant.zero_point, quant.low, quant.high) == (1.0, 0, 0, 255)


@pytest.mark.parametrize("kind", KINDS)
def test_q_k_and_v_share_a_zero_point(kind: str):
    graph, made = prepared(kind), recipe(kind)
    middles = {
        made.activations[s.key].zero_point
        for s in sites(graph)
        if s.kind == "matmul" and graph.root(s.value).op == "linear"
    }
    assert middles == {128}


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_has_one_grid_that_gives_its_range_15_bits(kind: str):
    graph = prepared(kind)
    stats = collect(graph, [images(kind, 4).numpy()])
    exponents, member = grid_exponents(graph, stats), streams(graph)
    assert exponents.keys() == member.keys()
    for stream in set(member.values()):
        names = [name for name, other in member.items() if other == stream]
        assert len({exponents[name] for name in names}) == 1
        largest = max(stats.values[name].magnitude for name in names) * 2.0 ** exponents[names[0]]
        assert RANGE / 2 - 1 <= largest <= RANGE
    for node in graph:
        if node.op == "layer_norm":
            assert node.inputs[0] in exponents


def test_streams_are_joined_by_sums_and_parted_by_norms():
    member = streams(prepared("vit"))
    blocks = {member[name] for name in member if name.startswith("blocks.") and name.endswith(("add", "add_2"))}
    assert len(blocks) == 1
    swin = streams(prepared("swin"))
    assert len(set(swin.values())) > 2


def test_bias_codes_are_whole_steps_and_a_mask_is_silent():
    value = np.array([[0.0, 0.31, -0.09, -100.0, 2.0]], np.float32)
    codes = bias_codes(value, 0.05, 255)
    silent = -255 - math.ceil(math.log(4 * 255) / 0.05)
    assert codes.dtype == np.float32
    assert codes.tolist() == [[0.0, 6.0, -2.0, silent, 40.0]]
    # from the lowest score, a masked one stays where Exp gives code 0
    assert math.exp((silent + 255) * 0.05) * 255 <= 0.25 + 1e-9

"""Certified Exp and Gelu scales, checked by plain scalar float64 arithmetic."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mptq_export.quantize.activations.opt_m import layouts
from mptq_export.quantize.activations.softmax import MASKED_STEPS
from mptq_export.quantize.certification.assumption import DIVISION, assumed
from mptq_export.quantize.certification.boundaries import MARGIN, boundary_distances
from mptq_export.quantize.certification.certify import (
    Results,
    activation_results,
    certify_activation,
    certify_attention,
    region_margin,
    short_scale,
)
from mptq_export.recipe.schema import ActivationQuant, Region
from mptq_export.support.errors import MptqError

from .helpers import levels_of

SLACK = 1e-9


def boundary_distance(steps: float, low: int, high: int) -> float:
    """Distance to the nearest k + 1/2 between two codes that can occur."""
    return min(abs(steps - (code + 0.5)) for code in range(low, high))


def level_distance(steps: float, quant: ActivationQuant) -> float:
    """Distance to the nearest middle of two neighbouring levels, in steps of their region."""
    levels = [level - quant.zero_point for level in levels_of(quant)]
    return min(abs(steps - (a + b) / 2) / (b - a) for a, b in pairwise(levels))


@pytest.mark.parametrize(
    ("steps", "expected"),
    [([3.0], 0.5), ([3.4], 0.1), ([3.5], 0.0), ([-7.5], 8.0), ([-0.5], 1.0), ([254.6], 0.1), ([400.5], 146.0)],
)
def test_only_boundaries_between_codes_count(steps: list[float], expected: float):
    assert boundary_distances(np.array(steps), 0, 255).min() == pytest.approx(expected)


def test_the_margin_is_that_of_a_search_over_all_boundaries():
    for value in np.random.default_rng(0).uniform(-3, 20, 300).tolist():
        assert boundary_distances(np.array([value]), 0, 15).min() == pytest.approx(boundary_distance(value, 0, 15))


@settings(deadline=None, max_examples=100)
@given(st.integers(2, 5), st.data())
def test_the_margin_of_regions_is_that_of_a_search_over_all_levels(bits: int, data: st.DataObject):
    zero, regions = data.draw(st.sampled_from(layouts(2**bits - 1)))
    quant = ActivationQuant(1.0, zero, 0, regions[-1].last, bits, "", regions)
    for steps in data.draw(st.lists(st.floats(-80, 300), min_size=1, max_size=10)):
        assert region_margin(np.array([steps]), quant) == pytest.approx(level_distance(steps, quant), abs=1e-9)


def test_the_margin_of_many_values_is_the_smallest():
    quant = ActivationQuant(1.0, 2, 0, 14, 4, "", (Region(0, 6), Region(2, 14)))
    assert region_margin(np.array([0.0, 1.0, 5.75]), quant) == pytest.approx(0.25 / 4)
    assert region_margin(np.array([0.0, 1.6]), quant) == pytest.approx(0.1)


def attention(bits: int) -> ActivationQuant:
    return ActivationQuant(1 / (2**bits - 1), 0, 0, 2**bits - 1, bits)


def assert_attention(score_scale: float, span: int, bits: int) -> None:
    wanted = attention(bits)
    found = certify_attention("layer", wanted, score_scale, span)
    assert found.scale == pytest.approx(wanted.scale, rel=0.02)
    assert found.scale == float(np.float32(found.scale))
    assert (found.zero_point, found.low, found.high, found.bits) == (0, 0, 2**bits - 1, bits)
    worst = min(boundary_distance(math.exp(-k * score_scale) / found.scale, 0, found.high) for k in range(span + 1))
    assert worst >= MARGIN - SLACK
    assert round(1 / found.scale) >= found.high  # the row maximum keeps the top code


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("score_scale", [1e-7, 4e-6, 4e-5, 0.0004, 0.004, 0.0237, 0.1, 0.777, 20.0])
def test_exp_keeps_the_margin_near_any_score_scale(bits: int, score_scale: float):
    assert_attention(score_scale, 257, bits)


@pytest.mark.parametrize("bits", [2, 4, 6, 8])
@pytest.mark.parametrize("factor", [1.0, 1.7, 4.0])
@pytest.mark.parametrize("span", [700, 3000])
def test_exp_keeps_the_margin_for_the_longer_spans_of_score_biases(bits: int, factor: float, span: int):
    assert_attention(factor * math.log(4 * (2**bits - 1)) / MASKED_STEPS, span, bits)


@pytest.mark.parametrize("wanted", [0.0237, 0.1, 1.7, 3e-5])
@pytest.mark.parametrize("span", [255, 256, 3000])
def test_score_codes_times_the_scale_and_their_differences_are_exact_in_float32(wanted: float, span: int):
    scale = np.float32(short_scale(wanted, span))
    assert float(scale) == short_scale(wanted, span)
    assert float(scale) == pytest.approx(wanted, rel=2**-11)
    k = np.arange(span + 1)
    products = k.astype(np.float32) * scale
    assert np.array_equal(products.astype(np.float64), k * float(scale))
    differences = products[:256, None] - products[None, ::7]
    assert np.array_equal(differences.astype(np.float64), (k[:256, None] - k[None, ::7]) * float(scale))


@pytest.mark.parametrize("function", ["gelu", "gelu_tanh"])
@pytest.mark.parametrize("bits", [2, 4, 6, 8])
@pytest.mark.parametrize(("source_scale", "zero_point"), [(0.05, 128), (0.031, 60), (0.0013, 200), (0.3, 17)])
def test_gelu_keeps_the_margin_near_the_wanted_scale(function: str, bits: int, source_scale: float, zero_point: int):
    source = ActivationQuant(float(np.float32(source_scale)), zero_point)
    high = 2**bits - 1
    top = max((255 - zero_point) * source_scale, 0.2)
    target = ActivationQuant(float(np.float32((top + 0.17) / high)), round(0.17 / (top + 0.17) * high), 0, high, bits)
    found = certify_activation("layer", source, target, function)
    assert (found.zero_point, found.low, found.high, found.bits) == (target.zero_point, 0, high, bits)
    assert found.scale == pytest.approx(target.scale, rel=0.02)
    for code in range(256):
        y = gelu_of(float(np.float32(code - zero_point) * np.float32(source.scale)), function)
        assert boundary_distance(y / found.scale + target.zero_point, 0, high) >= MARGIN - SLACK


def gelu_of(x: float, function: str) -> float:
    if function == "gelu_tanh":
        return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + math.erf(x / math.sqrt(2)))


@pytest.mark.parametrize("function", ["gelu", "gelu_tanh"])
@pytest.mark.parametrize("bits", [2, 3, 4, 5])
def test_gelu_keeps_the_margin_in_every_region(function: str, bits: int):
    source = ActivationQuant(float(np.float32(0.031)), 60)
    arguments = [float(np.float32(code - 60) * np.float32(source.scale)) for code in range(256)]
    with_regions = [entry for entry in layouts(2**bits - 1) if len(entry[1]) > 1]
    for zero, regions in with_regions[:: max(1, len(with_regions) // 12)]:
        last = regions[-1].last
        target = ActivationQuant(float(np.float32(6 / (last - zero))), zero, 0, last, bits, "", regions)
        found = certify_activation("layer", source, target, function)
        assert found.regions == regions
        assert found.scale == pytest.approx(target.scale, rel=0.02)
        assert min(level_distance(gelu_of(x, function) / found.scale, found) for x in arguments) >= MARGIN - SLACK


@pytest.mark.parametrize("function", ["gelu", "gelu_tanh"])
def test_activation_results_are_those_of_every_code_in_order(function: str):
    source = ActivationQuant(float(np.float32(0.05)), 90)
    found = activation_results(source, function)
    assert found.shape == (256,)
    assert found[90] == 0
    for code in (0, 50, 91, 255):
        x = float(np.float32(code - 90) * np.float32(source.scale))
        assert found[code] == pytest.approx(gelu_of(x, function), rel=1e-9, abs=1e-12)


def test_a_scale_that_has_the_margin_is_kept():
    found = certify_attention("layer", attention(8), 0.1, 255)
    assert certify_attention("layer", found, 0.1, 255) == found
    source = ActivationQuant(0.05, 90)
    gelu = certify_activation("layer", source, ActivationQuant(0.05, 5), "gelu")
    assert certify_activation("layer", source, gelu, "gelu") == gelu


def test_a_layer_without_any_safe_scale_is_named():
    # 0.5 is crossed in steps of 0.0005, so that some argument is always within 0.00025 of it
    with pytest.raises(MptqError, match=r"^blocks\.3\.attn: no scale near 0.\d+ keeps Exp .* change the bits"):
        certify_attention("blocks.3.attn", attention(8), 1e-3, 7000)


def assert_clear_of_what_a_runtime_may_give(source: ActivationQuant, found: ActivationQuant, function: str) -> None:
    """Every result, wrong by as much as is assumed, has the level of the true one."""
    part = assumed(function)
    middles = [(a + b) / 2 for a, b in pairwise(level - found.zero_point for level in levels_of(found))]
    for code in range(256):
        x = float(np.float32(code - source.zero_point) * np.float32(source.scale))
        y = gelu_of(x, function)
        error = (part.of_result + DIVISION) * abs(y) + part.of_argument * abs(x)
        for middle in middles:
            assert abs(y - middle * found.scale) >= error * (1 - 1e-9)


@pytest.mark.parametrize("function", ["gelu", "gelu_tanh"])
@pytest.mark.parametrize("wanted", [4e-8, 1e-6, 1e-5, 2e-4])
def test_a_step_too_fine_for_a_runtimes_function_is_made_larger(function: str, wanted: float):
    source = ActivationQuant(float(np.float32(0.0342)), 255)  # units that are all but off: x from -8.7 to 0
    target = ActivationQuant(float(np.float32(wanted)), 255, reason="why")
    assert Results.of_codes(source, function).exposure(target) > 1 or wanted > 1e-4
    found = certify_activation("layer", source, target, function)
    assert found.scale >= wanted * 0.98
    if wanted < 1e-4:
        assert found.scale > 1.04 * wanted
        assert found.reason == f"why; a larger step, as {function} is nearly 0 here"
    assert_clear_of_what_a_runtime_may_give(source, found, function)


@pytest.mark.parametrize("bits", [3, 4, 8])
def test_regions_too_are_clear_of_what_a_runtime_may_give(bits: int):
    source = ActivationQuant(float(np.float32(0.031)), 200)
    for zero, regions in [entry for entry in layouts(2**bits - 1) if len(entry[1]) > 1][::7][:12]:
        target = ActivationQuant(float(np.float32(3e-5)), zero, 0, regions[-1].last, bits, "", regions)
        found = certify_activation("layer", source, target, "gelu")
        assert found.regions == regions
        assert_clear_of_what_a_runtime_may_give(source, found, "gelu")


def test_the_exposure_is_the_error_over_the_distance():
    results = Results(np.array([0.0, 1.0, 2.3]), np.array([0.01, 0.02, 0.05]))
    quant = ActivationQuant(1.0, 0, 0, 3, 2)
    assert results.margin(quant) == pytest.approx(0.2)
    assert results.exposure(quant) == pytest.approx(0.05 / 0.2)
    assert results.reached(quant) == (-0.01, 2.3 + 0.05)
    assert Results(np.array([1.5]), np.array([0.0])).margin(quant) == 0

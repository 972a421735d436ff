"""Certified Exp and Gelu scales, checked by plain scalar float64 arithmetic."""

import math

import numpy as np
import pytest

from mptq_export.errors import MptqError
from mptq_export.quantize.build import MASKED_STEPS
from mptq_export.quantize.certify import MARGIN, certify_exp, certify_gelu, margin
from mptq_export.recipe.schema import ActivationQuant

SLACK = 1e-9


def boundary_distance(steps: float, low: int, high: int) -> float:
    """Distance to the nearest k + 1/2 between two codes that can occur."""
    return min(abs(steps - (code + 0.5)) for code in range(low, high))


@pytest.mark.parametrize(
    ("steps", "expected"),
    [([3.0], 0.5), ([3.4], 0.1), ([3.5], 0.0), ([-7.5], 8.0), ([-0.5], 1.0), ([254.6], 0.1), ([400.5], 146.0)],
)
def test_only_boundaries_between_codes_count(steps: list[float], expected: float):
    assert margin(np.array(steps), 0, 255) == pytest.approx(expected)


def test_the_margin_is_that_of_a_search_over_all_boundaries():
    for value in np.random.default_rng(0).uniform(-3, 20, 300).tolist():
        assert margin(np.array([value]), 0, 15) == pytest.approx(boundary_distance(value, 0, 15))


def certified(wanted: float, span: int, levels: int) -> None:
    scale = certify_exp("layer", wanted, span, levels)
    assert scale == pytest.approx(wanted, rel=0.02)
    worst = min(boundary_distance(math.exp(-k * scale) * levels, 0, levels) for k in range(0, span + 1))
    assert worst >= MARGIN - SLACK


@pytest.mark.parametrize("levels", [3, 15, 63, 255])
@pytest.mark.parametrize("wanted", [1e-7, 4e-6, 4e-5, 0.0004, 0.004, 0.0237, 0.1, 0.777, 20.0])
def test_exp_keeps_the_margin_near_any_wanted_scale(levels: int, wanted: float):
    certified(wanted, 257, levels)


@pytest.mark.parametrize("levels", [3, 15, 63, 255])
@pytest.mark.parametrize("factor", [1.0, 1.7, 4.0])
@pytest.mark.parametrize("span", [700, 3000])
def test_exp_keeps_the_margin_for_the_longer_spans_of_score_biases(levels: int, factor: float, span: int):
    certified(factor * math.log(4 * levels) / MASKED_STEPS, span, levels)


@pytest.mark.parametrize("wanted", [0.0237, 0.1, 1.7])
@pytest.mark.parametrize("span", [255, 256, 3000])
def test_score_codes_times_the_scale_and_their_differences_are_exact_in_float32(wanted: float, span: int):
    scale = np.float32(certify_exp("layer", wanted, span, 255))
    k = np.arange(span + 1)
    products = k.astype(np.float32) * scale
    assert np.array_equal(products.astype(np.float64), k * float(scale))
    differences = products[:256, None] - products[None, ::7]
    assert np.array_equal(differences.astype(np.float64), (k[:256, None] - k[None, ::7]) * float(scale))


@pytest.mark.parametrize("approximate", ["none", "tanh"])
@pytest.mark.parametrize("bits", [2, 4, 6, 8])
@pytest.mark.parametrize(("source_scale", "zero_point"), [(0.05, 128), (0.031, 60), (0.0013, 200), (0.3, 17)])
def test_gelu_keeps_the_margin_near_the_wanted_scale(approximate: str, bits: int, source_scale: float, zero_point: int):
    source = ActivationQuant(float(np.float32(source_scale)), zero_point)
    high = 2**bits - 1
    top = max((255 - zero_point) * source_scale, 0.2)
    target = ActivationQuant(float(np.float32((top + 0.17) / high)), round(0.17 / (top + 0.17) * high), 0, high, bits)
    found = certify_gelu("layer", source, target, approximate)
    assert (found.zero_point, found.low, found.high, found.bits) == (target.zero_point, 0, high, bits)
    assert found.scale == pytest.approx(target.scale, rel=0.02)
    for code in range(256):
        x = float(np.float32(code - zero_point) * np.float32(source.scale))
        if approximate == "tanh":
            y = 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
        else:
            y = 0.5 * x * (1 + math.erf(x / math.sqrt(2)))
        assert boundary_distance(y / found.scale + target.zero_point, 0, high) >= MARGIN - SLACK


def test_a_scale_that_has_the_margin_is_kept():
    scale = certify_exp("layer", 0.1, 255, 255)
    assert certify_exp("layer", scale, 255, 255) == scale


def test_a_layer_without_any_safe_scale_is_named():
    # 0.5 is crossed in steps of 0.0005, so that some argument is always within 0.00025 of it
    with pytest.raises(MptqError, match=r"^blocks\.3\.attn: no scale near 0.001 keeps Exp .* change the bits"):
        certify_exp("blocks.3.attn", 1e-3, 7000, 255)

"""Uniform quantizers: what they cover, and that a search never loses to min/max."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mptq_export.calibrate.statistics import Range
from mptq_export.capture.activations import FUNCTIONS
from mptq_export.quantize.activations.histogram import Histogram
from mptq_export.quantize.activations.ranges import (
    affine,
    best_affine,
    best_argument,
    best_symmetric,
    centred_step,
    range_of,
    symmetric,
)
from mptq_export.quantize.activations.sample import Sample
from mptq_export.quantize.simulation.fake_quantize import fake_quantize
from mptq_export.recipe.schema import ActivationQuant

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
BITS = range(2, 9)


def assert_sound(quant: ActivationQuant, bits: int) -> None:
    """A positive float32 scale, the codes of the width, and a code for zero."""
    assert quant.scale > 0
    assert math.isfinite(quant.scale)
    assert quant.scale == float(np.float32(quant.scale))
    assert (quant.low, quant.high, quant.bits) == (0, 2**bits - 1, bits)
    assert 0 <= quant.zero_point <= quant.high
    assert float(fake_quantize(torch.zeros(1), quant)) == 0
    assert quant.reason


def rows_of(seed: int, tail: float, offset: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(300, 10, generator=generator)
    return x * x.abs() ** tail + offset


def output_error(x: torch.Tensor, weight: torch.Tensor, quant: ActivationQuant) -> float:
    return float(((x - fake_quantize(x, quant)) @ weight.T).square().sum())


def total_error(x: torch.Tensor, quant: ActivationQuant) -> float:
    return float((x - fake_quantize(x, quant)).square().sum())


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("name", RANGES)
def test_affine_codes_cover_the_range_and_hold_zero(name: str, bits: int):
    quant = affine(Range(*RANGES[name]), bits)
    assert_sound(quant, bits)
    for value in (*RANGES[name], 0.0):
        assert -0.51 <= value / quant.scale + quant.zero_point <= quant.high + 0.51


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("name", RANGES)
def test_symmetric_codes_are_around_the_middle(name: str, bits: int):
    quant = symmetric(Range(*RANGES[name]).magnitude, bits)
    assert_sound(quant, bits)
    assert quant.zero_point == 2 ** (bits - 1)
    for value in RANGES[name]:
        assert -0.01 <= value / quant.scale + quant.zero_point <= quant.high + 0.01


def test_observed_is_the_smallest_and_the_largest():
    assert range_of(torch.tensor([[1.0, -2.0], [5.0, 0.0]])) == Range(-2.0, 5.0)


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 8), st.integers(0, 2**16), st.sampled_from([0.0, 1.0, 3.0]), st.sampled_from([-9.0, 0.0, 9.0]))
def test_a_searched_range_is_never_worse_than_min_max(bits: int, seed: int, tail: float, offset: float):
    x = rows_of(seed, tail, offset)
    weight = torch.randn(4, 10, generator=torch.Generator().manual_seed(seed + 1))
    found, plain = best_affine(Sample.of(x), range_of(x), bits, weight), affine(range_of(x), bits)
    assert_sound(found, bits)
    assert output_error(x, weight, found) <= output_error(x, weight, plain) * (1 + 1e-5)
    found, plain = best_symmetric(Histogram.of(x), bits), symmetric(range_of(x).magnitude, bits)
    assert_sound(found, bits)
    assert total_error(x, found) <= total_error(x, plain) * 1.02  # the histogram rounds values to the middle of bins


@pytest.mark.parametrize("bits", [3, 4])
def test_a_long_tail_is_cut(bits: int):
    x = rows_of(0, 1.0, 0.0)
    x[0, 0], x[1, 1] = 40.0, -40.0
    found = best_affine(Sample.of(x), range_of(x), bits, torch.eye(10))
    plain = affine(range_of(x), bits)
    assert found.scale < plain.scale
    assert best_symmetric(Histogram.of(x), bits).scale < symmetric(40.0, bits).scale
    assert total_error(x, found) < 0.8 * total_error(x, plain)


def test_the_reader_decides_what_may_be_cut():
    x = rows_of(0, 1.0, 0.0)
    x[:, 0] *= 8
    reads_it, ignores_it = torch.zeros(1, 10), torch.ones(1, 10)
    reads_it[0, 0], ignores_it[0, 0] = 1.0, 0.0
    wide, narrow = (best_affine(Sample.of(x), range_of(x), 4, w).scale for w in (reads_it, ignores_it))
    assert narrow < wide


def test_the_rows_that_count_decide_what_may_be_cut():
    x = rows_of(0, 1.0, 0.0)
    x[:100] *= 8
    large = torch.full((300,), 1e-3)
    large[:100] = 1.0
    wide, narrow = (best_affine(Sample.of(x, w), range_of(x), 4, torch.eye(10)).scale for w in (large, 1.001 - large))
    assert narrow < wide
    wide, narrow = (best_symmetric(Histogram.of(x, importance=w), 4).scale for w in (large, 1.001 - large))
    assert narrow < wide


def test_a_long_upper_tail_is_cut_alone():
    x = rows_of(0, 0.0, 0.0).abs() - 0.1
    x[0, 0] = 20.0
    found = best_affine(Sample.of(x), range_of(x), 4, torch.eye(10))
    assert -found.zero_point * found.scale == pytest.approx(-0.1, abs=found.scale)
    assert (found.high - found.zero_point) * found.scale < 16


def gelu_error(x: torch.Tensor, columns: torch.Tensor, quant: ActivationQuant, function: str) -> float:
    compute = FUNCTIONS[function].compute
    gap = compute(fake_quantize(x, quant)) - compute(x)
    return float((gap.square() * columns).sum())


@pytest.mark.parametrize("function", ["gelu", "gelu_tanh"])
@pytest.mark.parametrize("offset", [-6.0, -1.0, 2.0])
def test_the_argument_of_a_gelu_loses_what_gelu_does_not_see(function: str, offset: float):
    x = rows_of(0, 1.5, offset)
    columns = torch.rand(10, generator=torch.Generator().manual_seed(2))
    found, plain = best_argument(Sample.of(x), range_of(x), columns, function), affine(range_of(x), 8)
    assert_sound(found, 8)
    assert gelu_error(x, columns, found, function) <= gelu_error(x, columns, plain, function)
    if offset == -1.0:
        assert -found.zero_point * found.scale > range_of(x).low  # far below zero, gelu is flat


@pytest.mark.parametrize("value", [0.0, 0.3, -0.3, -8.0])
def test_a_constant_gets_a_quantizer_too(value: float):
    x = torch.full((20, 10), value)
    assert_sound(best_affine(Sample.of(x), range_of(x), 4, torch.eye(10)), 4)
    assert_sound(best_symmetric(Histogram.of(x), 4), 4)
    assert_sound(best_argument(Sample.of(x), range_of(x), torch.ones(10), "gelu"), 8)


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_levels_beside_0_serve_even_values_better(bits: int):
    x = torch.randn(4000, 8, generator=torch.Generator().manual_seed(0))
    step = centred_step(Histogram.of(x), bits)
    around = best_symmetric(Histogram.of(x), bits)
    moved = fake_quantize(x - step / 2, replace(around, scale=step)) + step / 2
    assert float((moved - x).square().sum()) < 0.97 * total_error(x, around)

"""Uniform quantizers: what they cover, and that a search never loses to min/max."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from hypothesis import given, settings
from hypothesis import strategies as st

from mptq_export.calibrate.statistics import Range
from mptq_export.quantize.fake import fake_quantize
from mptq_export.quantize.ranges import (
    affine,
    best_affine,
    best_gelu_input,
    best_symmetric,
    observed,
    output_error,
    symmetric,
)
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


def sample(seed: int, tail: float, offset: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(300, 10, generator=generator)
    return x * x.abs() ** tail + offset


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
    assert observed(torch.tensor([[1.0, -2.0], [5.0, 0.0]])) == Range(-2.0, 5.0)


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 8), st.integers(0, 2**16), st.sampled_from([0.0, 1.0, 3.0]), st.sampled_from([-9.0, 0.0, 9.0]))
def test_a_searched_range_is_never_worse_than_min_max(bits: int, seed: int, tail: float, offset: float):
    x = sample(seed, tail, offset)
    error = output_error(torch.randn(4, 10, generator=torch.Generator().manual_seed(seed + 1)))
    for found, plain, measure in (
        (best_affine(x, bits, error), affine(observed(x), bits), error),
        (best_symmetric(x, bits), symmetric(observed(x).magnitude, bits), lambda gap: float(gap.square().sum())),
    ):
        assert_sound(found, bits)
        assert measure(x - fake_quantize(x, found)) <= measure(x - fake_quantize(x, plain))


@pytest.mark.parametrize("bits", [3, 4])
def test_a_long_tail_is_cut(bits: int):
    x = sample(0, 1.0, 0.0)
    x[0, 0], x[1, 1] = 40.0, -40.0
    found = best_affine(x, bits, output_error(torch.eye(10)))
    plain = affine(observed(x), bits)
    assert found.scale < plain.scale
    assert best_symmetric(x, bits).scale < symmetric(40.0, bits).scale
    assert (x - fake_quantize(x, found)).square().sum() < 0.8 * (x - fake_quantize(x, plain)).square().sum()


def test_the_reader_decides_what_may_be_cut():
    x = sample(0, 1.0, 0.0)
    x[:, 0] *= 8
    reads_it, ignores_it = torch.zeros(1, 10), torch.ones(1, 10)
    reads_it[0, 0], ignores_it[0, 0] = 1.0, 0.0
    wide, narrow = (best_affine(x, 4, output_error(w)).scale for w in (reads_it, ignores_it))
    assert narrow < wide


@pytest.mark.parametrize("shape", [(3, 10), (20, 10)])  # fewer and more outputs than inputs take different ways
def test_the_output_error_is_that_of_the_product(shape: tuple[int, int]):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    gap = sample(3, 0.0, 0.0)
    assert output_error(weight)(gap) == pytest.approx(float((gap @ weight.T).square().sum()), rel=1e-4)


def gelu_error(x: torch.Tensor, importance: torch.Tensor, quant: ActivationQuant, approximate: str) -> float:
    gap = F.gelu(fake_quantize(x, quant), approximate=approximate) - F.gelu(x, approximate=approximate)
    return float((gap.square() * importance).sum())


@pytest.mark.parametrize("approximate", ["none", "tanh"])
@pytest.mark.parametrize("offset", [-6.0, -1.0, 2.0])
def test_the_argument_of_a_gelu_loses_what_gelu_does_not_see(approximate: str, offset: float):
    x = sample(0, 1.5, offset)
    importance = torch.rand(10, generator=torch.Generator().manual_seed(2))
    found, plain = best_gelu_input(x, importance, approximate), affine(observed(x), 8)
    assert_sound(found, 8)
    assert gelu_error(x, importance, found, approximate) <= gelu_error(x, importance, plain, approximate)
    if offset == -1.0:
        assert -found.zero_point * found.scale > observed(x).low  # far below zero, gelu is flat


@pytest.mark.parametrize("value", [0.0, 0.3, -0.3, -8.0])
def test_a_constant_gets_a_quantizer_too(value: float):
    x = torch.full((20, 10), value)
    assert_sound(best_affine(x, 4, output_error(torch.eye(10))), 4)
    assert_sound(best_symmetric(x, 4), 4)
    assert_sound(best_gelu_input(x, torch.ones(10), "none"), 8)

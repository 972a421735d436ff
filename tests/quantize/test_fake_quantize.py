"""Codes are the nearest level, whatever the levels."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mptq_export.quantize.activations.opt_m import layouts
from mptq_export.quantize.simulation.fake_quantize import codes, fake_quantize
from mptq_export.recipe.schema import ActivationQuant, Region

from .helpers import levels_of

UNIFORM = ActivationQuant(0.5, 3, 0, 7, 3)
#: Two steps below zero of twice the finest scale, then one times, four times and eight times it.
REGIONS = ActivationQuant(0.25, 4, 0, 36, 4, "", (Region(1, 4), Region(0, 8), Region(2, 20), Region(3, 36)))


@st.composite
def quantizers(draw: st.DrawFn) -> ActivationQuant:
    bits = draw(st.integers(2, 5))
    zero, regions = draw(st.sampled_from(layouts(2**bits - 1)))
    scale = 2.0 ** draw(st.integers(-12, 4)) * draw(st.sampled_from([1.0, 1.25, 1.75]))
    return ActivationQuant(scale, zero, 0, regions[-1].last, bits, "", regions)


@st.composite
def uniform_quantizers(draw: st.DrawFn) -> ActivationQuant:
    bits = draw(st.integers(2, 8))
    high = 2**bits - 1
    return ActivationQuant(2.0 ** draw(st.integers(-12, 4)), draw(st.integers(0, high)), 0, high, bits)


def assert_nearest(quant: ActivationQuant, steps: list[float]) -> None:
    """Nearest in distance: where two levels are equally near, either may be given."""
    x = torch.tensor(steps, dtype=torch.float32) * quant.scale
    levels = torch.tensor(levels_of(quant), dtype=torch.float64)
    found = codes(x, quant).double()
    assert torch.isin(found, levels).all()
    wanted = x.double() / quant.scale + quant.zero_point
    nearest = (levels[:, None] - wanted).abs().amin(0)
    assert torch.allclose((found - wanted).abs(), nearest, rtol=0, atol=1e-3)


@settings(deadline=None)
@given(quantizers() | uniform_quantizers())
def test_the_runs_of_a_quantizer_hold_its_levels(quant: ActivationQuant):
    runs = quant.runs()
    found = {quant.zero_point + k * run.unit for run in runs for k in range(run.first, run.last + 1)}
    assert sorted(found) == levels_of(quant)
    assert quant.levels == len(found)
    assert [run.unit for run in runs] == ([2**region.shift for region in quant.regions] or [1])


@settings(deadline=None, max_examples=150)
@given(quantizers() | uniform_quantizers(), st.lists(st.floats(-300, 600, width=32), min_size=1, max_size=40))
def test_every_code_is_the_nearest_level(quant: ActivationQuant, steps: list[float]):
    assert_nearest(quant, steps)


@settings(deadline=None, max_examples=100)
@given(quantizers() | uniform_quantizers())
def test_every_level_is_its_own_code(quant: ActivationQuant):
    levels = torch.tensor(levels_of(quant), dtype=torch.float32)
    x = (levels - quant.zero_point) * quant.scale
    assert torch.equal(codes(x, quant), levels)
    assert torch.equal(fake_quantize(x, quant), x)
    assert len(levels) <= 2**quant.bits


@settings(deadline=None, max_examples=100)
@given(quantizers() | uniform_quantizers(), st.lists(st.floats(-300, 600, width=32), min_size=2, max_size=40))
def test_quantizing_twice_changes_nothing_and_order_is_kept(quant: ActivationQuant, steps: list[float]):
    x = torch.tensor(sorted(steps)) * quant.scale
    once = fake_quantize(x, quant)
    assert torch.equal(fake_quantize(once, quant), once)
    assert (once.diff() >= 0).all()


@pytest.mark.parametrize("quant", [UNIFORM, REGIONS], ids=["uniform", "regions"])
def test_what_is_outside_gets_the_last_level(quant: ActivationQuant):
    assert codes(torch.tensor([-1e6, 1e6]), quant).tolist() == [quant.low, quant.high]
    assert codes(torch.zeros(1), quant).tolist() == [quant.zero_point]


def test_regions_by_hand():
    x = torch.tensor([-1.2, -0.6, -0.2, 0.3, 0.9, 1.4, 1.6, 3.4, 3.6, 4.9, 5.1, 9.0])
    # levels: 0 2 4 | 5 6 7 8 | 12 16 20 | 28 36, in steps of 0.25 from 4
    assert levels_of(REGIONS) == [0, 2, 4, 5, 6, 7, 8, 12, 16, 20, 28, 36]
    assert codes(x, REGIONS).tolist() == [0, 2, 4, 5, 8, 8, 12, 16, 20, 20, 28, 36]


@pytest.mark.parametrize("quant", [UNIFORM, REGIONS], ids=["uniform", "regions"])
def test_the_input_is_left_as_it_was(quant: ActivationQuant):
    x = torch.randn(4, 5)
    before = x.clone()
    assert codes(x, quant).shape == x.shape
    fake_quantize(x, quant)
    assert torch.equal(x, before)


@pytest.mark.parametrize("quant", [UNIFORM, REGIONS], ids=["uniform", "regions"])
def test_large_and_turned_tensors_get_the_same_codes(quant: ActivationQuant):
    x = torch.randn(7, 11, generator=torch.Generator().manual_seed(0)) * 4
    whole = codes(x, quant)
    assert torch.equal(codes(x, quant, chunk=5), whole)
    assert torch.equal(codes(x.T, quant, chunk=5), whole.T)

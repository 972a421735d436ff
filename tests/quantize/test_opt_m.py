"""OPT-m: what a layout may be, and that the search pays."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from hypothesis import given, settings
from hypothesis import strategies as st

from mptq_export.quantize.activations.histogram import Histogram
from mptq_export.quantize.activations.opt_m import MAX_SHIFT, layouts, search_levels
from mptq_export.quantize.activations.ranges import affine, range_of
from mptq_export.quantize.activations.sample import Sample
from mptq_export.quantize.certification.certify import activation_results
from mptq_export.quantize.simulation.fake_quantize import fake_quantize
from mptq_export.recipe.schema import ActivationQuant

from .helpers import levels_of

SOURCE = ActivationQuant(0.05, 90)


def after_gelu(count: int = 512, width: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    """GELU outputs with a few large channels, and a weight that reads them."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, width, generator=generator) * 0.8 - 0.4
    x[:, ::11] = x[:, ::11] * 3 + 2
    return F.gelu(fake_quantize(x, SOURCE)), torch.randn(10, width, generator=generator)


def output_error(rows: torch.Tensor, weight: torch.Tensor, quant: ActivationQuant) -> float:
    return float(((rows - fake_quantize(rows, quant)) @ weight.T).square().sum())


def choose(rows: torch.Tensor, weight: torch.Tensor, function: str, bits: int, *, regions: bool) -> ActivationQuant:
    seen = Histogram.of(rows, weight.square().sum(0))
    return search_levels(seen, Sample.of(rows), weight, activation_results(SOURCE, function), bits, regions=regions)


@pytest.mark.parametrize("bits", range(2, 9))
def test_every_layout_is_one_that_a_matmul_of_8_bits_can_read(bits: int):
    found = layouts(2**bits - 1)
    assert len(set(found)) == len(found)
    assert any(len(regions) == 1 and regions[0].shift == 0 and zero == 0 for zero, regions in found)
    every = max(1, len(found) // 2000)
    for zero, regions in found[::every]:
        quant = ActivationQuant(1.0, zero, 0, regions[-1].last, bits, "", regions)
        levels = levels_of(quant)
        assert len(levels) <= 2**bits
        assert levels[0] == 0
        assert zero in levels
        assert levels[-1] == quant.high <= 255
        start = 0
        for region in regions:
            assert 0 <= region.shift <= MAX_SHIFT
            assert region.last > start
            unit = 2**region.shift
            assert (start - zero) % unit == 0 == (region.last - zero) % unit, (zero, regions)
            start = region.last


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_few_bits_have_layouts_with_regions(bits: int):
    assert any(len(regions) > 1 for _, regions in layouts(2**bits - 1))


@pytest.mark.parametrize("bits", [3, 4, 5])
def test_regions_beat_uniform_levels_on_a_long_tail(bits: int):
    rows, weight = after_gelu()
    regions = choose(rows, weight, "gelu", bits, regions=True)
    uniform = choose(rows, weight, "gelu", bits, regions=False)
    plain = affine(range_of(rows), bits)
    assert regions.regions
    assert output_error(rows, weight, regions) < 0.8 * output_error(rows, weight, uniform)
    assert output_error(rows, weight, uniform) < output_error(rows, weight, plain)


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("regions", [True, False])
def test_the_quantizer_is_complete(bits: int, regions: bool):
    rows, weight = after_gelu()
    quant = choose(rows, weight, "gelu_tanh", bits, regions=regions)
    assert (quant.bits, quant.low) == (bits, 0)
    assert 0 <= quant.zero_point <= quant.high <= 255
    assert quant.scale > 0
    assert quant.scale == float(np.float32(quant.scale))
    assert quant.reason
    if not regions:
        assert quant.regions == ()
        assert quant.high == 2**bits - 1
    if quant.regions:
        assert quant.regions[-1].last == quant.high


def test_channels_that_weigh_more_decide():
    # Channel 0 holds large values, channel 1 small ones: the levels go where the weights look.
    rows = torch.stack([torch.linspace(0, 8, 400), torch.linspace(0, 0.4, 400)], 1)
    for large, small in ((1.0, 1e-3), (1e-3, 1.0)):
        weight = torch.tensor([[large, small]])
        quant = choose(rows, weight, "gelu", 3, regions=False)
        top = (quant.high - quant.zero_point) * quant.scale
        assert (top > 4) == (large > small)


@settings(deadline=None, max_examples=12)
@given(st.integers(2, 4), st.integers(0, 2**16), st.sampled_from(["gelu", "gelu_tanh"]))
def test_the_choice_is_never_worse_than_the_full_range(bits: int, seed: int, function: str):
    generator = torch.Generator().manual_seed(seed)
    table = torch.from_numpy(activation_results(SOURCE, function)).float()
    rows = table[torch.randint(60, 256, (200, 6), generator=generator)]
    weight = torch.randn(5, 6, generator=generator)
    plain = affine(range_of(rows), bits)
    for regions in (True, False):
        chosen = choose(rows, weight, function, bits, regions=regions)
        assert output_error(rows, weight, chosen) <= output_error(rows, weight, plain)


def test_a_layer_whose_weights_are_all_zero_still_gets_levels():
    rows, weight = after_gelu()
    quant = choose(rows, torch.zeros_like(weight), "gelu", 4, regions=True)
    assert quant.scale > 0

"""Weights with regions: levels by density, and outliers at a price."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from mptq_export.quantize.weights.gptq import descend_coordinates, round_gptq
from mptq_export.quantize.weights.hessian import Hessian
from mptq_export.quantize.weights.level_codes import LevelCodes, nearest_levels, outlier_mask
from mptq_export.quantize.weights.quantize_weight import quantize_weight
from mptq_export.quantize.weights.weight_regions import CORES, SHIFTS, RoundedInRegions, quantize_in_regions
from mptq_export.recipe.schema import WeightQuant, WeightRegions
from mptq_export.recipe.weight_levels import LARGEST, outliers, reachable

RNG = torch.Generator().manual_seed(0)
ALL = [(bits, levels) for bits, cores in CORES.items() for levels in cores]


def inputs(keys: int, *, rows: int = 600) -> Hessian:
    """Second moments of correlated inputs, some of them far larger than others."""
    x = torch.randn(rows, keys, generator=RNG, dtype=torch.float64)
    x = x @ torch.randn(keys, keys, generator=RNG, dtype=torch.float64).div_(keys**0.5).add_(torch.eye(keys))
    x *= torch.linspace(0.2, 3, keys, dtype=torch.float64)
    return Hessian(x.T @ x / rows)


def long_tailed(rows: int, keys: int) -> torch.Tensor:
    """Weights of a bell, one of a hundred four times as far out."""
    weight = torch.randn(rows, keys, generator=RNG)
    return torch.where(torch.rand(rows, keys, generator=RNG) < 0.01, 4 * weight, weight)


def stored(found: RoundedInRegions, bits: int) -> WeightQuant:
    bias = np.zeros(len(found.codes), np.float32)
    codes = found.codes.to(torch.int8).numpy()
    return WeightQuant(codes, found.scale.numpy(), bias, bits, "narrow", "", found.regions)


def error(weight: torch.Tensor, codes: torch.Tensor, scale: torch.Tensor, hessian: Hessian) -> float:
    return float(hessian.error(weight.double() - codes.double() * scale.double()[:, None]).sum())


@pytest.mark.parametrize(("bits", "levels"), ALL)
def test_cores_are_levels_of_their_width_that_grow_further_apart(bits: int, levels: tuple[int, ...]):
    assert len(levels) == 2**bits
    assert max(map(abs, levels)) + (1 << SHIFTS[bits]) <= LARGEST
    steps = [high - low for low, high in pairwise(level for level in levels if level > 0)]
    assert steps == sorted(steps)
    assert levels == tuple(-level for level in reversed(levels)) or 0 in levels


@pytest.mark.parametrize(("bits", "levels"), ALL)
def test_the_code_with_the_least_error_is_found(bits: int, levels: tuple[int, ...]):
    regions = WeightRegions(levels, SHIFTS[bits])
    value = torch.linspace(-140, 140, 4001, dtype=torch.float64) + 1e-3
    price = torch.full_like(value, 5.0)
    codes = replace(LevelCodes.of(regions, value.device), price=price)
    found = codes.nearest(value, torch.tensor(2.0, dtype=torch.float64))
    choices = torch.tensor(reachable(regions), dtype=torch.float64)
    costs = 2 * (value[:, None] - choices).square() + 5.0 * ((choices < levels[0]) | (choices > levels[-1]))
    assert torch.allclose(
        costs.gather(1, (choices == found[:, None]).int().argmax(1, keepdim=True))[:, 0], costs.amin(1)
    )
    assert torch.allclose(codes.least_error(value[:, None], torch.tensor([2.0])), costs.amin(1))


@pytest.mark.parametrize(("bits", "levels"), ALL)
def test_nearest_levels_are_the_nearest_of_the_core(bits: int, levels: tuple[int, ...]):
    ones, codes = np.ones(1, np.float32), np.array([[levels[0]]], np.int8)
    quant = WeightQuant(codes, ones, ones, bits, "narrow", "", WeightRegions(levels))
    values = torch.randn(40, 30, generator=RNG) * levels[-1]
    found, choices = nearest_levels(values, quant), torch.tensor(levels, dtype=torch.float32)
    assert torch.equal((values - found).abs(), (values[..., None] - choices).abs().amin(-1))


@pytest.mark.parametrize("bits", CORES)
@pytest.mark.parametrize("shape", [(48, 64), (96, 101), (1, 7), (640, 40)])
def test_codes_are_levels_or_outliers_and_any_pair_is_safe(bits: int, shape: tuple[int, int]):
    weight, hessian = long_tailed(*shape), inputs(shape[1])
    found = quantize_in_regions(weight, bits, hessian)
    assert set(found.codes.unique().tolist()) <= set(reachable(found.regions))
    assert float(found.codes.abs().max()) <= LARGEST
    quant = stored(found, bits)
    assert int(outliers(quant).sum()) == found.outliers == int(outlier_mask(quant, weight.device).sum())
    assert bool(found.regions.shift) == bool(found.outliers)
    assert f"{100 * found.outliers / weight.numel():.2f}% outliers" in found.reason or not found.outliers


@pytest.mark.parametrize("bits", CORES)
def test_levels_by_density_cost_less_than_even_ones_and_outliers_still_less(bits: int):
    weight, hessian = long_tailed(192, 256), inputs(256)
    codes, scale = quantize_weight(weight, bits, hessian, search_scales=True, gptq=True)
    even = error(weight, codes, scale, hessian)
    none, some = (quantize_in_regions(weight, bits, hessian, price=price) for price in (float("inf"), 0.75))
    assert none.outliers == 0
    assert 0.002 < some.outliers / weight.numel() < 0.025
    assert error(weight, none.codes, none.scale, hessian) < 0.9 * even
    assert error(weight, some.codes, some.scale, hessian) < 0.7 * even


def test_a_higher_price_leaves_fewer_outliers():
    weight, hessian = long_tailed(256, 192), inputs(192)
    counts = [quantize_in_regions(weight, 3, hessian, price=price).outliers for price in (0.3, 1.0, 3.0)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1]


def test_few_outliers_are_not_worth_the_nodes_that_add_them():
    weight, hessian = long_tailed(24, 64), inputs(64)
    assert quantize_in_regions(weight, 3, hessian).outliers == 0


def test_zeros_stay_zeros():
    weight, hessian = torch.randn(64, 96, generator=RNG), inputs(96)
    weight[::2] = 0
    found = quantize_in_regions(weight, 3, hessian)
    assert 0 in found.regions.levels
    assert not found.codes[::2].any()


def test_no_scale_is_below_the_smallest():
    weight, hessian = long_tailed(32, 64), inputs(64)
    smallest = torch.full((32,), 0.3)
    assert bool((quantize_in_regions(weight, 3, hessian, smallest_scale=smallest).scale >= smallest).all())


def test_descent_lowers_the_error_with_the_price_of_outliers():
    weight, hessian, regions = long_tailed(64, 128), inputs(128), WeightRegions(CORES[3][2], SHIFTS[3])
    scale, price = torch.full((64,), 0.2), 0.5
    codes = LevelCodes.of(regions, weight.device).at(scale, price)

    def cost(found: torch.Tensor) -> float:
        damped = hessian.damped[hessian.order.argsort()][:, hessian.order.argsort()]
        gap = weight.double() - found.double() * scale.double()[:, None]
        return float(((gap @ damped) * gap).sum()) + price * int((found.abs() > regions.levels[-1]).sum())

    rounded = round_gptq(weight, scale, hessian, codes)
    assert cost(descend_coordinates(rounded, weight, scale, hessian, codes)) < cost(rounded)


def test_rows_do_not_depend_on_their_neighbours():
    weight, hessian, regions = long_tailed(12, 64), inputs(64), WeightRegions(CORES[2][2], SHIFTS[2])
    scale = torch.linspace(0.2, 0.5, 12)
    codes = LevelCodes.of(regions, weight.device).at(scale, 0.3)
    together = round_gptq(weight, scale, hessian, codes)
    alone = [round_gptq(weight[i : i + 1], scale[i : i + 1], hessian, codes.of_rows(i, i + 1)) for i in range(12)]
    assert torch.equal(together, torch.cat(alone))

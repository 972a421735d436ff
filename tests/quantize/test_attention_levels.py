"""Attention codes of few bits: regions where one weight stands over many small ones, equal steps of 7 bits and more."""

import pytest
import torch

from mptq_export.quantize.activations.attention_levels import LARGEST, best_levels, drawn_rows
from mptq_export.quantize.simulation.fake_quantize import steps
from mptq_export.recipe.schema import ActivationQuant


def attention(peak: float) -> torch.Tensor:
    """Rows with one score above 200 that are alike: float32 [100, 200], `exp(score - maximum)`."""
    scores = torch.randn(100, 200, generator=torch.Generator().manual_seed(0))
    scores[:, 7] += peak
    return (scores - scores.amax(-1, keepdim=True)).exp()


def error(rows: torch.Tensor, quant: ActivationQuant) -> float:
    """Squared error of the weights, divided by their sums."""
    codes, exact = steps(rows, quant).double(), rows.double()
    return float((codes / codes.sum(-1, keepdim=True) - exact / exact.sum(-1, keepdim=True)).square().sum())


@pytest.mark.parametrize("bits", [3, 4, 5, 6])
def test_small_weights_beside_a_large_one_are_kept(bits: int):
    rows = attention(5.0)
    best, plain = best_levels(rows, bits, "")[0], ActivationQuant(1 / (2**bits - 1), 0, 0, 2**bits - 1, bits)
    assert len(best.regions) > 1
    assert best.levels == 2**bits
    assert best.high <= LARGEST
    assert error(rows, best) < 0.5 * error(rows, plain)
    assert steps(rows, best).amax(-1).min() == best.high  # a row's maximum has the top code


def test_weights_that_are_alike_keep_equal_steps():
    rows = torch.rand(100, 4, generator=torch.Generator().manual_seed(0)).clamp_min(0.4)
    rows /= rows.amax(-1, keepdim=True)
    ranked = best_levels(rows, 4, "")
    assert error(rows, ranked[0]) <= min(error(rows, quant) for quant in ranked)
    assert ActivationQuant(1 / 15, 0, 0, 15, 4, "") in ranked


@pytest.mark.parametrize("bits", [7, 8])
def test_many_codes_have_equal_steps(bits: int):
    (only,) = best_levels(attention(5.0), bits, "")
    assert (only.regions, only.high) == ((), 2**bits - 1)


def test_rows_are_drawn_from_all_images():
    value = torch.arange(8 * 3 * 100, dtype=torch.float32).reshape(8, 3, 100, 1)
    rows = drawn_rows(value)
    assert len(rows) == len(rows.unique()) == 384
    assert {int(row) // 300 for row in rows} == set(range(8))

"""Moments: what they measure, and that a correction is made only where it generalises."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from mptq_export.quantize.weights.ridge_correction import FittingRows, Moments

from .helpers import correlated

IMAGES, TOKENS, KEYS, WIDTH = 32, 20, 12, 7


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def layer(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Inputs, weight and bias."""
    x = correlated(IMAGES * TOKENS, KEYS, seed)
    weight = torch.randn(WIDTH, KEYS, generator=generator(seed + 1))
    return x, weight.double(), torch.randn(WIDTH, generator=generator(seed + 2)).double()


def measured(
    x: torch.Tensor, target: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, images: int, *, together: int = 9
) -> Moments:
    """Moments of rows that all count alike, a few images of one half at a time."""
    each = len(x) // images

    def chunks() -> Iterator[FittingRows]:
        for odd in (0, 1):
            for some in torch.split(torch.arange(odd, images, 2), together):
                rows = (some[:, None] * each + torch.arange(each)).flatten()
                yield FittingRows(
                    x[rows], target[rows].double(), torch.ones(len(rows), dtype=torch.float64), odd=odd == 1
                )

    return Moments.of([chunks()], weight, bias)


def output(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return x.double() @ weight.double().T + bias.double()


def test_a_linear_change_of_the_target_is_found():
    x, weight, bias = layer()
    change = 0.3 * torch.randn(WIDTH, KEYS, generator=generator(9))
    target = output(x, weight + change, bias + 0.7)
    found = measured(x, target, weight, bias, IMAGES)
    fixed = found.ridge_corrected()
    gap = output(x, fixed, found.bias_corrections[0].bias_for(fixed)) - target
    assert gap.square().mean() < 0.01 * (output(x, weight, bias + 0.7) - target).square().mean()
    assert (fixed - weight - change).square().sum() < 0.1 * change.square().sum()


def test_a_known_change_is_found_under_noise():
    x, weight, bias = layer()
    change = 0.3 * torch.randn(WIDTH, KEYS, generator=generator(9))
    noise = 0.5 * torch.randn(len(x), WIDTH, generator=generator(10))
    fixed = measured(x, output(x, weight + change, bias) + noise, weight, bias, IMAGES).ridge_corrected()
    other = correlated(500, KEYS, seed=77).double() @ (fixed - weight - change).T
    assert other.square().mean() < 0.2 * (correlated(500, KEYS, seed=77).double() @ change.double().T).square().mean()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("images", [4, 32])
def test_pure_noise_is_not_fitted(seed: int, images: int):
    rows = images * 3  # few rows: a fit would follow the noise
    x, (_, weight, bias) = torch.randn(rows, KEYS, generator=generator(seed)), layer(seed)
    noise = torch.randn(rows, 64, generator=generator(seed + 50))
    weight, bias = weight.repeat(10, 1)[:64], bias.repeat(10)[:64]
    found = measured(x, output(x, weight, bias) + noise, weight, bias, images)
    assert torch.equal(found.ridge_corrected(), weight.double())


def test_a_target_that_is_met_is_left_alone():
    x, weight, bias = layer()
    found = measured(x, output(x, weight, bias), weight, bias, IMAGES)
    assert torch.allclose(found.ridge_corrected(), weight, atol=1e-5)
    assert torch.allclose(found.bias_corrections[0].bias_for(weight), bias, atol=1e-5)


@pytest.mark.parametrize("images", [1, 2])
def test_one_or_two_images_are_enough_to_measure(images: int):
    x, weight, bias = layer()
    found = measured(x[: images * TOKENS], output(x, weight, bias)[: images * TOKENS] + 0.5, weight, bias, images)
    assert torch.isfinite(found.ridge_corrected()).all()
    assert torch.allclose(found.bias_corrections[0].bias_for(weight), bias + 0.5, atol=1e-4)


def test_halves_are_the_even_and_the_odd_images():
    # Even images ask for +change, odd images for -change: nothing generalises from one to the other.
    x, weight, bias = layer()
    change = torch.randn(WIDTH, KEYS, generator=generator(9))
    side = (torch.arange(len(x)) // TOKENS % 2 * 2 - 1)[:, None]
    target = output(x, weight, bias) + side * (x - x.mean(0)) @ change.T
    assert torch.equal(measured(x, target, weight, bias, IMAGES).ridge_corrected(), weight.double())


@pytest.mark.parametrize("rounding", [0.0, 0.4])
def test_the_bias_cancels_the_mean_error(rounding: float):
    x, weight, bias = layer()
    target = output(x, weight, bias) + torch.linspace(-2, 2, WIDTH) + torch.randn(len(x), WIDTH, generator=generator(5))
    found = measured(x, target, weight, bias, IMAGES)
    rough = weight + rounding * torch.randn(WIDTH, KEYS, generator=generator(6))
    left = target.double() - output(x.double(), rough.double(), found.bias_corrections[0].bias_for(rough).double())
    assert left.mean(0).abs().max() < 1e-5


def test_the_hessian_is_that_of_numpy_drawn_to_its_diagonal():
    x, weight, bias = layer()
    found = measured(x, output(x, weight, bias), weight, bias, IMAGES)
    data = x.double().numpy()
    share = KEYS / (KEYS + len(x))
    for centred, full in ((True, np.cov(data.T, bias=True)), (False, data.T @ data / len(data))):
        expected = (1 - share) * full + share * np.diag(np.diag(full))
        got = found.hessian(centred=centred).matrix
        assert got.dtype == torch.float64
        assert np.allclose(got.numpy(), expected, rtol=1e-4, atol=1e-5)
        assert torch.linalg.eigvalsh(got).min() > 0


def test_with_few_rows_the_hessian_can_still_be_inverted():
    x, weight, bias = correlated(4, 40), torch.randn(3, 40), torch.zeros(3)
    got = measured(x, output(x, weight, bias), weight, bias, 2).hessian(centred=True).matrix
    assert torch.linalg.matrix_rank(got) == 40


def test_it_does_not_matter_how_rows_are_cut():
    x, weight, bias = layer()
    change = 0.3 * torch.randn(WIDTH, KEYS, generator=generator(9))
    target = output(x, weight + change, bias + 0.3)
    whole = measured(x, target, weight, bias, IMAGES)
    cut = measured(x, target, weight, bias, IMAGES, together=1)
    assert torch.allclose(whole.hessian(centred=True).matrix, cut.hessian(centred=True).matrix, rtol=1e-4, atol=1e-5)
    assert torch.allclose(whole.ridge_corrected(), cut.ridge_corrected(), rtol=1e-3, atol=1e-4)
    assert torch.allclose(
        whole.bias_corrections[0].bias_for(weight), cut.bias_corrections[0].bias_for(weight), rtol=1e-4, atol=1e-4
    )


def test_moments_are_symmetric_and_whole_however_many_rows_are_summed_at_once(monkeypatch: pytest.MonkeyPatch):
    x, weight, bias = layer()
    target = output(x, weight, bias)
    whole = measured(x, target, weight, bias, IMAGES).hessian(centred=False).matrix
    monkeypatch.setattr("mptq_export.quantize.weights.ridge_correction._STRIP", 5)
    parts = measured(x, target, weight, bias, IMAGES).hessian(centred=False).matrix
    assert torch.equal(parts, parts.T)
    torch.testing.assert_close(parts, whole, rtol=1e-12, atol=1e-12)
    wide = x.double()
    shrunk = KEYS / (KEYS + len(x))  # towards the diagonal
    expected = (1 - shrunk) * (wide.T @ wide / len(x))
    expected.diagonal().div_(1 - shrunk)
    torch.testing.assert_close(parts, expected, rtol=1e-10, atol=1e-10)

"""Distances of outputs, and draws whose covariance is their second derivative."""

import math
from typing import get_args

import pytest
import torch

from mptq_export.quantize.objective.closed_forms import as_vectors, closed_form
from mptq_export.recipe.metric import DistanceName
from mptq_export.recipe.outputs import OutputKind

SIZES: dict[OutputKind, tuple[int, ...]] = {
    "logits": (1, 6),
    "embedding": (1, 6),
    "map": (1, 3, 2, 2),
    "tokens": (1, 2, 4),
    "scores": (1, 2, 3),
    "choices": (1, 2, 3),
    "boxes": (1, 2, 4),
    "values": (1, 2, 3),
}


def output(kind: OutputKind, seed: int = 0, images: int = 1) -> torch.Tensor:
    count = math.prod(SIZES[kind])
    return torch.randn(images, count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("metric", [*get_args(DistanceName), None])
def test_the_draw_has_the_hessian_as_covariance(metric: DistanceName | None, kind: OutputKind):
    form, x = closed_form(metric, kind, SIZES[kind]), output(kind)
    hessian = torch.autograd.functional.hessian(lambda y: form.distance(x, y).sum(), x)[0, :, 0]
    # The draw is linear in its noise: its matrix comes from the unit vectors.
    count = 3
    root = form.draw(x.expand(x.shape[1], -1), torch.eye(x.shape[1], dtype=torch.float64), count)
    assert torch.allclose(root.T @ root, hessian / count, atol=1e-12)


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("metric", [*get_args(DistanceName), None])
def test_nothing_is_lost_where_nothing_differs(metric: DistanceName | None, kind: OutputKind):
    form, x = closed_form(metric, kind, SIZES[kind]), output(kind, images=4)
    assert form.distance(x, x).tolist() == [0] * 4
    found = form.distance(x, output(kind, 1, images=4))
    assert found.shape == (4,) and bool((found > 0).all())
    assert float(form.distance(x, x + 1e-4 * output(kind, 1, images=4)).max()) < 1e-6


def test_each_is_what_its_name_says():
    x, y = output("embedding"), output("embedding", 1)
    cosine = torch.nn.functional.cosine_similarity(x, y)
    assert torch.allclose(closed_form(None, "embedding", (1, 6)).distance(x, y), 1 - cosine)
    assert torch.allclose(closed_form("cosine", "logits", (1, 6)).distance(x, 3 * x), torch.zeros(1).double())
    kl = torch.nn.functional.kl_div(y.log_softmax(1), x.log_softmax(1), log_target=True, reduction="batchmean")
    assert torch.allclose(closed_form(None, "logits", (1, 6)).distance(x, y), kl)
    assert torch.allclose(closed_form(None, "choices", (1, 1, 6)).distance(x, y), kl)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits
    each = entropy(y, x.sigmoid(), reduction="sum") - entropy(x, x.sigmoid(), reduction="sum")
    assert torch.allclose(closed_form(None, "scores", (1, 2, 3)).distance(x, y), each / 6)
    squares = (x - y).square().sum() / x.square().sum()
    for kind in ("map", "tokens", "boxes", "values"):
        assert torch.allclose(closed_form(None, kind, (1, 6, 1, 1)).distance(x, y), squares)


def test_the_mean_is_over_positions_and_tokens():
    x, y = output("map"), output("map", 1)
    form = closed_form("cosine", "map", SIZES["map"])
    similar = torch.nn.functional.cosine_similarity(x.reshape(1, 3, 4), y.reshape(1, 3, 4), dim=1)
    assert torch.allclose(form.distance(x, y), 1 - similar.mean(1))
    assert as_vectors("map", SIZES["map"], x).shape == (1, 4, 3)
    assert as_vectors("tokens", SIZES["tokens"], output("tokens")).shape == (1, 2, 4)
    assert as_vectors("values", SIZES["values"], output("values")).shape == (1, 1, 6)


@pytest.mark.parametrize("metric", get_args(DistanceName))
def test_outputs_of_zeros_stay_finite(metric: DistanceName):
    form, zeros = closed_form(metric, "embedding", (1, 6)), torch.zeros(1, 6, dtype=torch.float64)
    assert form.distance(zeros, zeros).tolist() == [0]
    assert bool(form.distance(zeros, output("embedding")).isfinite().all())
    assert bool(form.draw(zeros, output("embedding"), 1).isfinite().all())

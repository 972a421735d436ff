"""What the techniques bring, on a trained model and images that calibration has not seen."""

from functools import cache

import pytest
import torch

from mptq_export.capture.evaluate import evaluate
from mptq_export.quantize.method import BEST, MINMAX, PAPER
from mptq_export.quantize.simulation.simulate import Simulator

from .helpers import digits

ALL = {"minmax": MINMAX, "paper": PAPER, "best": BEST}


@cache
def logits(method: str, bits: tuple[int, int]) -> torch.Tensor:
    graph, recipe = digits().build(bits, ALL[method])
    with torch.no_grad():
        return Simulator.of(graph, recipe).logits(graph, digits().val)


@cache
def reference() -> torch.Tensor:
    with torch.no_grad():
        return evaluate(digits().graph, digits().val)


def squared_error(method: str, bits: tuple[int, int]) -> float:
    return float((logits(method, bits) - reference()).square().mean())


def divergence(method: str, bits: tuple[int, int]) -> float:
    """Mean KL divergence of the class probabilities from the float model's."""
    p, q = reference().log_softmax(-1), logits(method, bits).log_softmax(-1)
    return float((p.exp() * (p - q)).sum(-1).mean())


def agreement(method: str, bits: tuple[int, int]) -> float:
    return float((logits(method, bits).argmax(-1) == reference().argmax(-1)).float().mean())


@pytest.mark.parametrize("method", ALL)
def test_8_bits_lose_nothing(method: str):
    assert divergence(method, (8, 8)) < 2e-3
    assert agreement(method, (8, 8)) >= 0.99
    assert squared_error(method, (8, 8)) < 1e-3 * float(reference().var())


@pytest.mark.parametrize("other", ["minmax", "paper"])
@pytest.mark.parametrize("bits", [(3, 3), (4, 4)])
def test_best_is_far_better_than_the_others(bits: tuple[int, int], other: str):
    assert divergence("best", bits) < 0.8 * divergence(other, bits)
    assert squared_error("best", bits) < 0.7 * squared_error(other, bits)


def test_best_holds_at_3_bits():
    assert agreement("best", (3, 3)) >= 0.94
    assert agreement("best", (3, 3)) > agreement("minmax", (3, 3)) + 0.1


@pytest.mark.parametrize("method", ALL)
def test_every_bit_helps(method: str):
    errors = [divergence(method, (bits, bits)) for bits in (3, 4, 8)]
    assert errors == sorted(errors, reverse=True)

import numpy as np
import pytest

from mptq_export.evaluate.metrics import agreement, mean_kl, top_k

LOGITS = np.array([[3.0, 2.0, 1.0], [0.0, 5.0, 4.0], [1.0, 2.0, 9.0], [7.0, 0.0, 0.0]], np.float32)
LABELS = np.array([0, 2, 0, 2])


@pytest.mark.parametrize(("k", "share"), [(1, 0.25), (2, 0.5), (3, 1.0)])
def test_top_k(k: int, share: float):
    assert top_k(LOGITS, LABELS, k) == share


def test_ties_do_not_flatter():
    constant = np.zeros((4, 4), np.float32)
    assert top_k(constant, np.arange(4), 1) == 0.25
    assert top_k(constant, np.arange(4), 2) == 0.5


def test_nan_logits_are_wrong():
    assert top_k(np.full((2, 3), np.nan, np.float32), np.array([0, 1]), 3) == 0.0


def test_top_1_is_argmax():
    generator = np.random.default_rng(0)
    logits, labels = generator.integers(0, 4, (200, 10)).astype(np.float32), generator.integers(0, 10, 200)
    assert top_k(logits, labels, 1) == np.mean(logits.argmax(axis=1) == labels)


def test_agreement():
    assert agreement(LOGITS, LOGITS) == 1.0
    assert agreement(LOGITS, LOGITS[:, ::-1]) == 0.25  # only the second image keeps its class


def test_kl_of_known_distributions():
    """KL((1/2, 1/2) || (1/4, 3/4)) = ln 2 - ln 3 / 2."""
    p = np.log(np.array([[0.5, 0.5]]))
    q = np.log(np.array([[0.25, 0.75]])) + 7.0  # a shift of the logits changes nothing
    assert mean_kl(p, q) == pytest.approx(np.log(2) - np.log(3) / 2, abs=1e-12)


def test_kl_is_zero_for_itself_and_stable_for_large_logits():
    assert mean_kl(LOGITS, LOGITS) == 0.0
    assert mean_kl(np.array([[1e4, 0.0]]), np.array([[0.0, 1e4]])) == pytest.approx(1e4)

"""Nearest neighbours of embeddings, against plain loops."""

import numpy as np
import pytest

from mptq_export.evaluate import neighbours as module
from mptq_export.evaluate.metrics import cosines
from mptq_export.evaluate.neighbours import knn_accuracy, nearest, neighbours


def embeddings(count: int = 40, channels: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, channels)).astype(np.float32)


def by_hand(rows: np.ndarray, k: int) -> list[list[int]]:
    found = []
    for i, row in enumerate(rows.astype(np.float64)):
        cosine = [-float(row @ other) / (np.linalg.norm(row) * np.linalg.norm(other)) for other in rows.astype(float)]
        found.append([j for _, j in sorted((round(c, 9), j) for j, c in enumerate(cosine) if j != i)][:k])
    return found


@pytest.mark.parametrize("k", [1, 3, 39])
def test_the_nearest_are_those_of_the_largest_cosine(k: int, monkeypatch: pytest.MonkeyPatch):
    rows = embeddings() * np.random.default_rng(1).uniform(0.1, 9, (40, 1))  # lengths say nothing
    assert nearest(rows, k).tolist() == by_hand(rows, k)
    monkeypatch.setattr(module, "_AT_ONCE", 7)
    assert nearest(rows, k).tolist() == by_hand(rows, k)


def test_copies_keep_their_order_and_zeros_are_near_nothing():
    rows = embeddings(5)
    rows[3] = rows[1] * 2
    rows[4] = 0
    assert nearest(rows, 1)[[1, 3], 0].tolist() == [3, 1]
    assert nearest(rows, 4)[0].tolist().index(1) < nearest(rows, 4)[0].tolist().index(3)
    assert np.isfinite(nearest(rows, 4)).all()


def test_agreement():
    rows = embeddings(50, 8)
    same = neighbours(rows, rows * 3)
    assert same is not None and (same.nearest, same.ten) == (1, 1) and same.nearest_interval[0] < 1
    noisy = rows + 0.3 * embeddings(50, 8, seed=5)
    found = neighbours(rows, noisy)
    assert found is not None and found.ten is not None and found.ten_interval is not None
    a, b = by_hand(rows, 10), by_hand(noisy, 10)
    assert found.nearest == np.mean([x[0] == y[0] for x, y in zip(a, b, strict=True)])
    assert found.ten == pytest.approx(np.mean([len({*x} & {*y}) / 10 for x, y in zip(a, b, strict=True)]))
    assert found.nearest_interval[0] < found.nearest < found.nearest_interval[1]
    assert found.ten_interval[0] < found.ten < found.ten_interval[1]


def test_few_images_have_no_ten_neighbours():
    assert neighbours(embeddings(2), embeddings(2)) is None
    few = neighbours(embeddings(11), embeddings(11))
    assert few is not None and few.ten is None and few.ten_interval is None
    assert (many := neighbours(embeddings(12), embeddings(12))) is not None and many.ten == 1


def test_neighbours_name_classes():
    labels = np.repeat([3, 7, 9], 8)
    rows = np.eye(3)[np.repeat([0, 1, 2], 8)] + 0.05 * embeddings(24, 3)
    assert knn_accuracy(rows, labels, 1) == knn_accuracy(rows, labels, 5) == 1
    labels[0] = 7  # one image among another class: itself wrong, no other outvoted
    assert knn_accuracy(rows, labels, 5) == 23 / 24
    # Equal votes: the nearer image decides.
    line = np.array([[1, 0], [1, 0.1], [1, -0.3]])
    assert knn_accuracy(line, np.array([5, 5, 6]), 2) == 2 / 3


def test_cosines():
    a = np.array([[1, 0], [1, 1], [0, 0], [0, 0], [3, 4]], np.float32)
    b = np.array([[0, 2], [2, 2], [0, 0], [1, 0], [-3, -4]], np.float32)
    assert cosines(a, b).tolist() == pytest.approx([0, 1, 1, 0, -1])
    big = embeddings(3) * 1e30
    assert cosines(big, big * np.float32(0.5)).tolist() == pytest.approx([1, 1, 1])

"""Detections of one model among those of another, by hand."""

import numpy as np
import pytest

from mptq_export.evaluate.detection.agreement import agreement, found_again, intersection_over_union
from mptq_export.evaluate.detection.found import FoundObjects


def found(*guesses: tuple[int, float, tuple[float, float, float, float]]) -> FoundObjects:
    boxes = np.array([box for _, _, box in guesses], np.float32).reshape(-1, 4)
    scores, labels = np.array([each[1] for each in guesses], np.float32), np.array([each[0] for each in guesses])
    return FoundObjects(boxes, scores, labels.astype(np.int64))


A, NEAR_A, B = (0, 0, 10, 10), (0, 0, 10, 6), (50, 50, 60, 70)


def test_intersection_over_union_by_hand():
    boxes = np.array([A, NEAR_A, B, (5, 5, 15, 15), (3, 3, 3, 3)], np.float32)
    assert intersection_over_union(boxes[:1], boxes)[0] == pytest.approx([1, 0.6, 0, 25 / 175, 0])


def test_found_again_needs_the_class_the_place_and_one_of_its_own():
    exact = [found((1, 0.9, A), (1, 0.8, A), (2, 0.7, B), (2, 0.4, A)), found()]
    again = found_again(exact, [found((1, 0.3, NEAR_A), (2, 0.9, B), (3, 0.9, A)), found((1, 0.9, A))])
    assert again.detections == 3  # the fourth is not sure
    assert again.at_50 == pytest.approx(2 / 3)  # A once: there is one for it
    assert again.at_75 == pytest.approx(1 / 3)


def test_both_ways():
    exact, other = [found((1, 0.9, A))], [found((1, 0.9, A), (1, 0.9, B))]
    both = agreement(other, exact)
    assert (both.of_float.at_50, both.of_quantised.at_50) == (1, 0.5)
    assert both.of_float.at_50_interval == (1, 1)


def test_nothing_to_find_again():
    assert found_again([found()], [found((1, 0.9, A))]).at_50 is None
    assert found_again([found((1, 0.9, A))], [found()]).at_50 == 0

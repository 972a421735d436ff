"""Intersection over union by hand."""

import numpy as np
import pytest

from mptq_export.evaluate.segmentation.overlap import PictureOverlaps, class_ious, mean_ious, overlap

LABELS = np.array([[0, 0, 1, 1], [2, 2, 2, 0]])
KNOWN = np.array([[True, True, True, True], [True, True, False, True]])
GIVEN = np.array([[0, 1, 1, 1], [2, 0, 3, 0]])
"""Class 0: two of three right, one other given it. 1: two right, one other. 2: one of two. 3 is given where none is."""


def of_one() -> PictureOverlaps:
    return PictureOverlaps.of_one(LABELS, KNOWN, GIVEN, 5)


def test_by_hand():
    ious = class_ious(of_one(), np.ones((1, 1)))[0]
    assert ious[:3] == pytest.approx([2 / 4, 2 / 3, 1 / 2])
    assert np.isnan(ious[3:]).all()  # the pixel that was given 3 has no class
    found = overlap(of_one())
    assert found.mean_iou == pytest.approx((2 / 4 + 2 / 3 + 1 / 2) / 3)
    assert found.pixel_accuracy == pytest.approx(5 / 7)
    assert found.class_accuracy == pytest.approx((2 / 3 + 1 + 1 / 2) / 3)


def test_a_class_that_only_was_given_counts_as_0():
    everywhere = PictureOverlaps.of_one(np.zeros((2, 2), int), np.ones((2, 2), bool), np.array([[0, 0], [0, 4]]), 5)
    assert overlap(everywhere).mean_iou == pytest.approx(3 / 4 / 2)


def test_pixels_of_all_pictures_are_added_up_before_they_are_divided():
    right = PictureOverlaps.of_one(np.zeros((3, 3), int), np.ones((3, 3), bool), np.zeros((3, 3), int), 5)
    both = PictureOverlaps.joined([of_one(), right])
    assert class_ious(both, np.ones((1, 2)))[0][0] == pytest.approx(11 / 13)
    drawn = mean_ious(both, np.array([[1.0, 0], [0, 3], [0, 0]]))
    assert drawn[:2] == pytest.approx([overlap(of_one()).mean_iou, 1])
    assert np.isnan(drawn[2])

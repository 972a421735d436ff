"""Labels that are numbered otherwise than the logits."""

import numpy as np

from mptq_export.evaluate.numbering import misnumbered


def named_for(classes: np.ndarray, count: int, wrong: float = 0.0) -> np.ndarray:
    generator = np.random.default_rng(0)
    return np.where(generator.random(len(classes)) < wrong, generator.integers(0, count, len(classes)), classes)


LABELS = np.repeat(np.arange(10), 12)


def test_a_permutation_is_found_even_under_errors():
    for wrong in (0.0, 0.4):
        told = misnumbered(named_for((LABELS + 1) % 10, 10, wrong), LABELS, 10)
        assert told is not None and "--class-map" in told
    told = misnumbered(named_for((LABELS + 3) % 10, 10), LABELS, 10)
    assert told is not None and "0% are right, 100% would be" in told and "logit 3 for what is logit 0 now" in told


def test_a_part_of_the_classes_shifted_by_one():
    part = np.repeat([2, 3, 4, 5], 12)
    assert misnumbered(named_for(part, 10), part - 2, 10) is not None
    assert misnumbered(named_for(part, 10), part, 10) is None


def test_what_only_is_a_bad_model_is_not():
    generator = np.random.default_rng(1)
    for count in (2, 3, 10, 50):
        labels = np.repeat(np.arange(count), 40)
        for wrong in (0.0, 0.3, 0.6, 1.0):
            assert misnumbered(named_for(labels, count, wrong), labels, count) is None
        assert misnumbered(generator.integers(0, count, len(labels)), labels, count) is None
        assert misnumbered(np.zeros(len(labels), np.int64), labels, count) is None  # always class 0


def test_few_images_say_nothing():
    labels = np.arange(10)
    assert misnumbered(named_for((labels + 1) % 10, 10), labels, 10) is None
    assert misnumbered(named_for(np.ones(60, int), 2), np.zeros(60, int), 2) is None  # one class alone

"""Labels that are numbered otherwise than the logits."""

import numpy as np

from mptq_export.evaluate.numbering import misnumbered


def logits_for(classes: np.ndarray, count: int, wrong: float = 0.0) -> np.ndarray:
    generator = np.random.default_rng(0)
    named = np.where(generator.random(len(classes)) < wrong, generator.integers(0, count, len(classes)), classes)
    return np.eye(count, dtype=np.float32)[named]


LABELS = np.repeat(np.arange(10), 12)


def test_a_permutation_is_found_even_under_errors():
    for wrong in (0.0, 0.4):
        told = misnumbered(logits_for((LABELS + 1) % 10, 10, wrong), LABELS)
        assert told is not None and "--class-map" in told
    told = misnumbered(logits_for((LABELS + 3) % 10, 10), LABELS)
    assert told is not None and "0% are right, 100% would be" in told and "logit 3 for what is logit 0 now" in told


def test_a_part_of_the_classes_shifted_by_one():
    part = np.repeat([2, 3, 4, 5], 12)
    assert misnumbered(logits_for(part, 10), part - 2) is not None
    assert misnumbered(logits_for(part, 10), part) is None


def test_what_only_is_a_bad_model_is_not():
    generator = np.random.default_rng(1)
    for count in (2, 3, 10, 50):
        labels = np.repeat(np.arange(count), 40)
        for wrong in (0.0, 0.3, 0.6, 1.0):
            assert misnumbered(logits_for(labels, count, wrong), labels) is None
        assert misnumbered(generator.standard_normal((len(labels), count)).astype(np.float32), labels) is None
        assert misnumbered(np.zeros((len(labels), count), np.float32), labels) is None  # always class 0


def test_few_images_say_nothing():
    labels = np.arange(10)
    assert misnumbered(logits_for((labels + 1) % 10, 10), labels) is None
    assert misnumbered(logits_for(np.ones(60, int), 2), np.zeros(60, int)) is None  # one class alone

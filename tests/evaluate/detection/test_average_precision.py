"""Average precision against cases that are known, and its draws against pycocotools itself."""

from pathlib import Path

import numpy as np
import pytest

from mptq_export.data.coco.scenes import SceneObject, Segmentation
from mptq_export.evaluate.detection import cocotools
from mptq_export.evaluate.detection.average_precision import Judged, Kind, Truth, judge, mean_precision
from mptq_export.evaluate.detection.found import FoundObjects, Runs
from mptq_export.evaluate.metrics import draws_interval, over_draws
from mptq_export.support.errors import MptqError

pytest.importorskip("pycocotools", reason="pycocotools is optional")

SIZE = (200, 200)
Box = tuple[float, float, float, float]
Guess = tuple[int, float, Box]
"""Label, score, and x, y, width, height."""


def thing(category: int, box: Box, *, crowd: bool = False, mask: Segmentation | None = None) -> SceneObject:
    return SceneObject(Path("a"), category, box, box[2] * box[3], crowd, mask)


def found(*guesses: Guess, masks: tuple[Runs, ...] | None = None) -> FoundObjects:
    boxes = np.array([box for _, _, box in guesses], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    scores, labels = np.array([each[1] for each in guesses], np.float32), np.array([each[0] for each in guesses])
    return FoundObjects(boxes, scores, labels.astype(np.int64), masks)


def judged(objects: list[list[SceneObject]], guesses: list[FoundObjects], kind: Kind = "box") -> Judged:
    return judge(Truth([SIZE] * len(objects), objects, {1: 1, 2: 2}), guesses, kind)


A, B = (10.0, 10.0, 40.0, 40.0), (100.0, 100.0, 20.0, 50.0)


def test_perfect_detections_give_1_and_none_gives_0():
    objects = [[thing(1, A), thing(2, B)], [thing(1, B)]]
    figures = judged(objects, [found((1, 0.9, A), (2, 0.3, B)), found((1, 0.1, B))]).figures
    assert (figures.ap, figures.ap50, figures.ap75) == pytest.approx((1, 1, 1))
    assert figures.small == pytest.approx(1)
    assert figures.medium == pytest.approx(1)
    assert figures.large is None
    nothing = judged(objects, [found(), found()])
    assert (nothing.figures.ap, nothing.by_category) == (0, {1: 0, 2: 0})


def test_a_box_that_is_a_little_off_counts_at_the_thresholds_that_it_passes():
    off = judged([[thing(1, (0, 0, 100, 100))]], [found((1, 0.9, (0, 0, 100, 72)))])  # an IoU of 0.72
    assert off.figures.ap == pytest.approx(0.5)  # 0.50, 0.55, 0.60, 0.65, 0.70
    assert (off.figures.ap50, off.figures.ap75) == pytest.approx((1, 0))


def test_a_wrong_one_before_the_right_one_halves_precision_and_one_behind_costs_nothing():
    objects = [[thing(1, A)]]
    assert judged(objects, [found((1, 0.9, B), (1, 0.8, A))]).figures.ap == pytest.approx(0.5)
    assert judged(objects, [found((1, 0.9, A), (1, 0.8, B))]).figures.ap == pytest.approx(1)
    assert judged(objects, [found((2, 0.9, A))]).figures.ap == 0  # of another class
    assert judged(objects, [found((1, 0.9, A), (1, 0.95, A))]).figures.ap == pytest.approx(1)  # twice: one is wrong
    assert judged([*objects, []], [found((1, 0.8, A)), found((1, 0.9, A))]).figures.ap == pytest.approx(0.5)  # empty


def test_half_of_the_objects_is_half_of_the_recalls():
    figures = judged([[thing(1, A), thing(1, B)]], [found((1, 0.9, A))]).figures
    assert figures.ap == pytest.approx(51 / 101)


def test_what_lies_in_a_crowd_counts_neither_way():
    objects = [[thing(1, A), thing(1, (100, 0, 100, 200), crowd=True)]]
    inside = (120.0, 20.0, 30.0, 30.0)
    assert judged(objects, [found((1, 0.99, inside), (1, 0.9, A))]).figures.ap == pytest.approx(1)
    assert judged([[thing(1, A)]], [found((1, 0.99, inside), (1, 0.9, A))]).figures.ap == pytest.approx(0.5)


def test_an_object_without_id_0_and_labels_of_no_category():
    objects = [[thing(1, A)]]  # pycocotools takes an object with the id 0 for none
    assert judged(objects, [found((1, 0.9, A), (7, 0.99, A))]).figures.ap == pytest.approx(1)


def runs(rows: int) -> Runs:
    """A mask of the first rows of the first 100 columns."""
    mask = np.zeros(SIZE, np.uint8, order="F")
    mask[:rows, :100] = 1
    written = cocotools.cocotools().mask.encode(mask)
    return {"size": list(SIZE), "counts": written["counts"].decode()}


def test_masks_are_judged_by_their_own_overlap():
    polygon: Segmentation = [[0, 0, 100, 0, 100, 100, 0, 100]]
    box = (0.0, 0.0, 100.0, 100.0)
    for mask in (polygon, dict(runs(100))):
        objects = [[thing(1, box, mask=mask)]]
        guesses = [found((1, 0.9, box), masks=(runs(72),))]
        assert judged(objects, guesses, "mask").figures.ap == pytest.approx(0.5)
        assert judged(objects, guesses).figures.ap == pytest.approx(1)


def scattered(pictures: int) -> tuple[list[list[SceneObject]], list[FoundObjects]]:
    """Objects, crowds, guesses near and far, with scores that are often the same."""
    generator = np.random.default_rng(0)
    objects, guesses = [], []
    for _ in range(pictures):
        there: list[SceneObject] = []
        said: list[Guess] = []
        for _ in range(generator.integers(0, 7)):
            x, y, w, h = (float(each) for each in generator.uniform(5, 90, 4))
            category = int(generator.integers(1, 3))
            there.append(thing(category, (x, y, w, h), crowd=generator.random() < 0.15))
            for _ in range(generator.integers(0, 3)):
                dx, dy = generator.normal(0, 0.1, 2)
                label = category if generator.random() < 0.8 else int(generator.integers(1, 4))
                said.append(
                    (label, round(float(generator.uniform()), 1) + 0.001 * len(said), (x + dx * w, y + dy * h, w, h))
                )
        objects.append(there)
        guesses.append(found(*sorted(said, key=lambda guess: -guess[1])))
    return objects, guesses


def test_pictures_that_count_several_times_are_as_many_copies_to_pycocotools():
    objects, guesses = scattered(30)
    once = judged(objects, guesses)
    assert once.figures.ap is not None and 0.05 < once.figures.ap < 0.9
    assert mean_precision(once.curves, np.ones((1, 30)))[0] == pytest.approx(once.figures.ap, abs=1e-12)
    counts = np.random.default_rng(1).integers(0, 4, (3, 30))
    for draw in counts:
        copies = np.repeat(np.arange(30), draw)
        copied = judged([objects[place] for place in copies], [guesses[place] for place in copies])
        drawn = mean_precision(once.curves, draw[None].astype(float))[0]
        assert drawn == pytest.approx(copied.figures.ap, abs=1e-12)
    low, high = draws_interval(over_draws(30, lambda drawn: mean_precision(once.curves, drawn))) or (0, 0)
    assert low < once.figures.ap < high


def test_draws_are_the_same_for_all_statistics_and_those_that_say_nothing_are_left_out():
    counts: list[np.ndarray] = []

    def first_share(drawn: np.ndarray) -> np.ndarray:
        counts.append(drawn)
        return np.where(drawn[:, 0] > 0, drawn[:, 0] / 3, np.nan)

    first, again = (over_draws(3, first_share) for _ in range(2))
    assert len(first) == 2000
    assert np.array_equal(first, again, equal_nan=True)
    assert (np.concatenate(counts).sum(1) == 3).all()
    assert draws_interval(first) == (pytest.approx(1 / 3), pytest.approx(1))
    assert draws_interval(np.full(3, np.nan)) is None
    # How often a picture of three is drawn three times: 1 / 27.
    assert np.mean(first == 1) == pytest.approx(1 / 27, abs=0.015)


def test_without_pycocotools_there_is_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "pycocotools", None)
    with pytest.raises(MptqError, match=r"pip install 'mptq-export\[detection\]'"):
        cocotools.cocotools()

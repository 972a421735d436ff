"""The time that is left: priors first, then what the clock says; a bar that never goes back."""

import pytest

from mptq_export.support.durations import duration, rough_duration
from mptq_export.support.progress import Expected
from mptq_export.support.time_left import TimeLeft


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def work(time: TimeLeft, clock: Clock, label: str, seconds: float, parts: int = 20) -> list[tuple[float, float]]:
    """One stage in equal parts: what is left, and how far the bar is, in the middle of each part."""
    seen = []
    time.begin(label, parts)
    for _ in range(parts):
        clock.now += seconds / parts / 2
        assert time.left is not None
        seen.append((time.left, time.share))
        clock.now += seconds / parts / 2
        time.advance(1)
    assert time.end() == pytest.approx(seconds)
    return seen


@pytest.mark.parametrize("slower", [0.2, 1.0, 5.0])
def test_a_machine_of_another_speed_is_known_by_what_it_has_done(slower: float):
    """After a quarter of the time what is left is right within a tenth, whatever the priors are of."""
    clock = Clock()
    time = TimeLeft(clock)
    plan = {"first": 30.0, "second": 60.0, "third": 30.0}
    time.expect([Expected(label, seconds) for label, seconds in plan.items()])
    whole, begun = slower * sum(plan.values()), clock.now
    shares = []
    for label, seconds in plan.items():
        for number, (left, share) in enumerate(work(time, clock, label, slower * seconds)):
            middle = slower * (sum(list(plan.values())[: list(plan).index(label)]) + seconds * (number + 0.5) / 20)
            if middle >= whole / 4:
                assert left == pytest.approx(whole - middle, rel=0.1, abs=0.02 * whole)
            shares.append(share)
    assert shares == sorted(shares) and shares[-1] > 0.95
    assert clock.now - begun == pytest.approx(whole)
    assert time.taken == pytest.approx({label: slower * seconds for label, seconds in plan.items()})


def test_every_engine_has_its_own_speed():
    """A GPU that computes the walk in no time makes the check of the file no quicker."""
    clock = Clock()
    time = TimeLeft(clock)
    time.expect([Expected("write", 20.0, "file"), Expected("walk", 100.0), Expected("check", 50.0, "file")])
    work(time, clock, "write", 20.0)
    work(time, clock, "walk", 5.0)
    assert time.left == pytest.approx(50.0, rel=0.1)


def test_a_short_stage_that_was_slow_says_little_of_an_hour():
    clock = Clock()
    time = TimeLeft(clock)
    time.expect([Expected("capture", 3.0), Expected("walk", 4000.0)])
    time.begin("capture", 10)
    clock.now += 20.0
    time.advance(1)
    assert time.left is not None and 4000.0 < time.left < 2.2 * 4000.0


def test_a_wrong_prior_gives_way_to_the_stages_own_rate():
    clock = Clock()
    time = TimeLeft(clock)
    time.expect([Expected("walk", 10.0)])
    seen = work(time, clock, "walk", 100.0)
    assert seen[0][0] == pytest.approx(10.0, rel=0.3)
    assert seen[10][0] == pytest.approx(47.5, rel=0.15)


def test_what_was_not_expected_is_told_by_its_rate_alone():
    clock = Clock()
    time = TimeLeft(clock)
    assert (time.left, time.share, time.label, time.running) == (None, 0.0, "", False)
    time.begin("timing", 4)
    assert time.left is None and time.running
    clock.now += 3
    time.advance(1)
    assert time.left == pytest.approx(9.0)
    clock.now += 30  # longer than a part should take: little is left of it, but never nothing
    assert time.left == pytest.approx(0.45)


def test_a_plan_can_be_revised_and_stages_may_not_come():
    clock = Clock()
    time = TimeLeft(clock)
    time.expect([Expected("load", 1.0), Expected("search", 10.0), Expected("again", 50.0), Expected("write", 4.0)])
    time.expect([Expected("search", 20.0)])
    assert time.left == pytest.approx(75.0)
    time.expect([Expected("again", 5.0), Expected("again", 5.0)])
    assert time.left == pytest.approx(35.0)
    work(time, clock, "search", 20.0)  # nothing was loaded
    assert time.left == pytest.approx(14.0)
    work(time, clock, "write", 4.0)
    assert time.left is None


def test_the_bar_does_not_go_back_where_more_is_to_do():
    clock = Clock()
    time = TimeLeft(clock)
    time.expect([Expected("walk", 10.0)])
    time.begin("walk", 10)
    clock.now += 5
    time.advance(5)
    before = time.share
    time.expect([Expected("again", 1000.0)])
    assert time.share == before == pytest.approx(0.5, abs=0.1)


def test_durations_for_people():
    assert [duration(s) for s in (0.04, 9.96, 34.4, 125, 5040)] == [
        "0.0 s",
        "10.0 s",
        "34 s",
        "2 min 05 s",
        "1 h 24 min",
    ]
    assert [rough_duration(s) for s in (0.1, 13.4, 42, 207, 2000, 5100)] == [
        *("1 s", "13 s", "40 s", "3 min 30 s", "33 min", "1 h 25 min"),
    ]

"""What is called silence, and which time left is held against the truth, of made-up screens."""

import sys

import pytest

from mptq_export.support.errors import MptqError
from tools.bench.signs_of_life import Seen, seconds_of, watch

BAR = "\r\x1b[2Ksearching  \x1b[31m━━━━\x1b[0m 43% {so_far} so far, about {left} left\r\n"


def test_silence_is_a_time_without_a_change_that_can_be_read():
    same = BAR.format(so_far="3 s", left="9 s")
    seen = Seen(((1.0, same), (4.0, same), (5.0, "\x1b[2K\r"), (6.0, same.replace("3 s", "4 s")), (8.0, "end\n")), 9.5)
    assert seen.silence == (5.0, 1.0)
    assert Seen((), 7.0).silence == (7.0, 0.0)
    assert Seen(((0.5, "a"), (1.0, "b")), 9.0).silence == (8.0, 1.0)


def test_the_time_left_that_was_shown_last_is_compared():
    shown = tuple((at, BAR.format(so_far=f"{at:.0f} s", left=left)) for at, left in ((10, "1 min 20 s"), (60, "30 s")))
    seen = Seen(shown, 100.0)
    assert seen.left(0.05) == (None, 95.0)
    assert seen.left(0.25) == (80.0 - 15.0, 75.0)  # it was shown 15 seconds ago
    assert seen.left(0.75) == (30.0 - 15.0, 25.0)


def test_durations_are_read_as_they_are_shown():
    assert [seconds_of(text) for text in ("5 s", "1 min 20 s", "3 min", "1 h 05 min")] == [5, 80, 180, 3900]


@pytest.mark.parametrize("way", ["terminal", "pipes"])
def test_commands_are_watched_in_both_ways(way: str):
    told = "import sys; print(sys.stderr.isatty()); print('about 2 s left', file=sys.stderr)"
    seen = watch([sys.executable, "-c", told], way)  # type: ignore[arg-type]
    text = "".join(text for _, text in seen.chunks)
    assert str(way == "terminal") in text and "about 2 s left" in text
    with pytest.raises(MptqError, match="ended with status 3: no"):
        watch([sys.executable, "-c", "import sys; print('no', end=''); sys.exit(3)"], way)  # type: ignore[arg-type]

"""Turns, not times."""

import numpy as np

from mptq_export.bench.interleave import Quartiles, interleave


def test_every_turn_warms_up_and_the_order_rotates():
    calls: list[str] = []
    seconds = interleave({name: lambda name=name: calls.append(name) for name in "abc"}, 4)
    assert "".join(calls) == "aabbcc" + "bbccaa" + "ccaabb" + "aabbcc"
    assert list(seconds) == ["a", "b", "c"]
    assert all(times.shape == (4,) and (times > 0).all() for times in seconds.values())


def test_quartiles():
    assert Quartiles.of(np.arange(5.0)) == Quartiles(1.0, 2.0, 3.0)

"""Timing several models in turn, so that whatever else the machine does falls on all of them."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import cycle, islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mptq_export.support.progress import SILENT, Progress, tracked

Seconds = NDArray[np.float64]
"""(rounds,) wall-clock seconds."""

Name = TypeVar("Name")


@dataclass(frozen=True)
class Quartiles:
    """Spread of one figure over the rounds.

    Attributes:
        low: 25 % of the rounds are below.
        median: half of the rounds are below.
        high: 75 % of the rounds are below.
    """

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Seconds) -> "Quartiles":
        """The quartiles of (rounds,) values."""
        low, median, high = (float(value) for value in np.percentile(values, [25, 50, 75]))
        return cls(low, median, high)


def interleave(
    runners: Mapping[Name, Callable[[], object]], rounds: int, progress: Progress = SILENT
) -> dict[Name, Seconds]:
    """Time every runner once a round, in an order that rotates from round to round.

    Each turn starts with one run that is not timed: it brings the model's weights back into the caches, and the
    threads of the model before it stop spinning. What is timed is a model that serves one request after another.

    Args:
        runners: what to run, by name.
        rounds: number of timed runs of each.
        progress: hears how far it is, a step a round.

    Returns:
        The times of each runner; equal indices are of one round, so that ratios can be taken.
    """
    seconds: dict[Name, list[float]] = {name: [] for name in runners}
    names = list(runners)
    for number in tracked(range(rounds), progress, "timing", rounds):
        for name in islice(cycle(names), number % len(names), number % len(names) + len(names)):
            run = runners[name]
            run()
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: np.array(times) for name, times in seconds.items()}

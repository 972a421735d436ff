"""How far a command is, and how long it will go on: stages with what each should take, corrected by the clock.

Every stage that is to come has a prior: seconds by what it has to do, on another machine. What was done so far gives
the speed of this one, each engine's apart, as soon as that has shown itself. Within a stage its own rate takes over
from the prior, by the share that is done. The bar is the share of time, over all stages, and never goes back.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

from mptq_export.support.progress import Engine, Expected

#: Expected seconds after which the speed of an engine is believed as much as what was known before, and their share of
#: all that is expected: a short stage that was slow says little of an hour.
_KNOWN, _KNOWN_SHARE = 2.0, 0.01

#: Share of a stage after which its own rate is believed as much as its prior.
_OWN = 0.1

#: Share of the time that a part should take, below which it was done before: by an interrupted run.
_SKIPPED = 0.02

#: What is left of a part that takes longer than it should: of that part.
_LEAST = 0.05


@dataclass
class _Running:
    """The stage that runs.

    Attributes:
        label: what it is called.
        total: the sum of what it will advance.
        began: when, by the clock.
        expected: what was expected of it; None where nothing was.
        done: how much it has advanced.
        at: when it last did.
        skipped: how much of that took no time, as it was done before.
    """

    label: str
    total: float
    began: float
    expected: Expected | None
    at: float
    done: float = 0.0
    skipped: float = 0.0

    @property
    def share(self) -> float:
        """How much of it is done, 0 to 1."""
        return min(1.0, self.done / self.total) if self.total > 0 else 0.0

    @property
    def worked(self) -> float:
        """How much of it was done now, 0 to 1."""
        return self.share - min(self.share, self.skipped / self.total) if self.total > 0 else 0.0

    def prior(self, speed: Callable[[Engine], float]) -> float | None:
        """Seconds that it should take as a whole, by its prior."""
        return None if self.expected is None else self.expected.seconds * speed(self.expected.engine)

    def left(self, now: float, speed: Callable[[Engine], float]) -> float | None:
        """Seconds that it will still take; None where nothing tells."""
        prior, worked = self.prior(speed), self.worked
        own = (self.at - self.began) / worked if worked else None
        if own is None and prior is None:
            return None
        trust = worked / (worked + _OWN) if prior is not None else 1.0
        whole = trust * (own or 0.0) + (1 - trust) * (prior or 0.0)
        left = whole * (1 - self.share)
        return max(left - (now - self.at), _LEAST * left)


class TimeLeft:
    """Follows the stages of one command.

    Attributes:
        label: of the stage that runs, or ran last; empty before the first.
        taken: seconds of every stage that has ended, in order; those that are called alike together.
    """

    def __init__(self, clock: Callable[[], float] = perf_counter) -> None:
        """Begin now.

        Args:
            clock: gives seconds.
        """
        self._clock = clock
        self._began = clock()
        self._coming: list[Expected] = []
        self._done: list[tuple[Expected, float]] = []
        self._running: _Running | None = None
        self._shown = 0.0
        self.label = ""
        self.taken: dict[str, float] = {}

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return self._clock() - self._began

    @property
    def running(self) -> bool:
        """Whether a stage runs."""
        return self._running is not None

    def expect(self, stages: Sequence[Expected]) -> None:
        """As `Progress.expect`; of the stage that runs, what is expected changes."""
        labels = {stage.label for stage in stages}
        if self._running is not None and self._running.label in labels:
            revised = next(stage for stage in stages if stage.label == self._running.label)
            self._running.expected = revised
            stages = [stage for stage in stages if stage is not revised]
            labels -= {revised.label}
        first = next((i for i, coming in enumerate(self._coming) if coming.label in labels), 0)
        others = [coming for coming in self._coming if coming.label not in labels]
        self._coming = [*others[:first], *stages, *others[first:]]

    def begin(self, label: str, total: float) -> None:
        """A stage begins; what was expected before it will not come any more."""
        labels = [coming.label for coming in self._coming]
        expected = None
        if label in labels:
            place = labels.index(label)
            expected = self._coming[place]
            del self._coming[: place + 1]
        now = self._clock()
        self._running = _Running(label, total, now, expected, now)
        self.label = label

    def advance(self, amount: float) -> None:
        """So much more of the stage that runs is done."""
        running, now = self._running, self._clock()
        if running is None:
            return
        prior = running.prior(self._speed)
        if prior is not None and now - running.at < _SKIPPED * prior * amount / running.total:
            running.skipped += amount
        running.done += amount
        running.at = now

    def end(self) -> float:
        """The stage ends; seconds that it took."""
        running = self._running
        assert running is not None
        seconds = self._clock() - running.began
        if running.expected is not None:
            self._done.append((running.expected, seconds))
        self.taken[running.label] = self.taken.get(running.label, 0.0) + seconds
        self._running = None
        return seconds

    @property
    def left(self) -> float | None:
        """Seconds that all stages will still take; None while nothing tells."""
        running, coming = self._running, self._coming
        own = None if running is None else running.left(self._clock(), self._speed)
        if own is None and not coming:
            return None
        return (own or 0.0) + sum(stage.seconds * self._speed(stage.engine) for stage in coming)

    @property
    def share(self) -> float:
        """How much of the time has passed, 0 to 1; it never falls."""
        left, elapsed = self.left, self.elapsed
        if left is not None and elapsed > 0:
            self._shown = max(self._shown, elapsed / (elapsed + left))
        return self._shown

    def _speed(self, engine: Engine) -> float:
        """Seconds here for each that is expected of an engine."""
        if engine == "start":
            return 1.0
        common = self._ratio(None, 1.0)
        return self._ratio(engine, common)

    def _ratio(self, engine: Engine | None, before: float) -> float:
        """Seconds taken for those expected, of one engine or of all, mixed with what was known before."""
        pairs = [(stage.engine, stage.seconds, seconds) for stage, seconds in self._done]
        running = self._running
        if running is not None and running.expected is not None and running.done:
            stage, done = running.expected, running.worked
            pairs.append((stage.engine, stage.seconds * done, running.at - running.began))
        counted = [(a, b) for each, a, b in pairs if each != "start" and engine in (None, each)]
        expected, taken = (sum(column) for column in zip(*counted, strict=True)) if counted else (0.0, 0.0)
        known = max(_KNOWN, _KNOWN_SHARE * self._expected)
        return (taken + known * before) / (expected + known)

    @property
    def _expected(self) -> float:
        """Seconds expected of all stages, by their priors."""
        running = self._running.expected if self._running is not None else None
        stages = [*(stage for stage, _ in self._done), *self._coming, *([] if running is None else [running])]
        return sum(stage.seconds for stage in stages)

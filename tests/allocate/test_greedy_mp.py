"""The lazy search against the naive one, on divergences that are known in closed form."""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from mptq_export.allocate.greedy_mp import Limit, Step, greedy
from mptq_export.allocate.search_space import SearchSpace
from mptq_export.allocate.sensitivity import SensitivityTable
from mptq_export.allocate.units import Unit, Widths
from mptq_export.allocate.width_domain import WidthDomain

LOW, HIGH = 3, 8
BITS = range(LOW, HIGH + 1)
COUNT = 20
UNITS = [Unit(f"layer{i:02}", "weights", 1 + (i * 7) % 5, 0) for i in range(COUNT)]
TOTAL = sum(unit.parameters for unit in UNITS)
START: Widths = {**{unit.layer: (HIGH, HIGH) for unit in UNITS}, "pinned": (8, 2)}
SPACE = SearchSpace(UNITS, START, WidthDomain.of_range(BITS))


class Model:
    """A divergence that is a sum over units, or something that is not quite one; it counts its measurements."""

    def __init__(self, seed: int = 0, bend: float = 0.0) -> None:
        generator = np.random.default_rng(seed)
        self._scale = generator.exponential(1.0, COUNT) + 0.05
        self._base = generator.uniform(2.5, 4.5, COUNT)  # close to 4, as for rounding errors
        self._bend = bend
        self.measured: list[tuple[int, ...]] = []

    def alone(self, index: int, bits: int) -> float:
        return float(self._scale[index] * self._base[index] ** -(bits - LOW))

    def table(self, wrong: float = 0.0, seed: int = 0) -> SensitivityTable:
        """Estimates, off by a random factor of about e^wrong a unit."""
        errors = np.exp(wrong * np.random.default_rng(seed + 100).standard_normal(COUNT))
        return {(u.key, b): self.alone(i, b) * float(errors[i]) for i, u in enumerate(UNITS) for b in BITS}

    def exact(self, widths: Widths) -> float:
        total = sum(self.alone(i, unit.bits(widths)) for i, unit in enumerate(UNITS))
        return total + self._bend * total**2

    def __call__(self, widths: Widths) -> list[float]:
        self.measured.append(tuple(unit.bits(widths) for unit in UNITS))
        return [self.exact(widths)]


def mean(widths: Widths) -> float:
    return sum(unit.parameters * unit.bits(widths) for unit in UNITS) / TOTAL


def at_most(bits: float) -> Limit:
    return Limit(lambda unit, _: unit.parameters / TOTAL, lambda widths: mean(widths) <= bits + 1e-9)


def steps_of(
    model: Model, table: SensitivityTable, *limits: Limit, units: list[Unit] | None = None
) -> list[Step | None]:
    return list(greedy(replace(SPACE, units=UNITS if units is None else units), table, model, list(limits)))


def taken(found: list[Step | None]) -> list[Step]:
    return [step for step in found if step is not None]


def naive(model: Model, bits: float) -> tuple[Widths, int]:
    """The search of the paper: measure every unit before every step. Widths, and the number of measurements."""
    widths, divergence, count = START, model.exact(START), 1
    while mean(widths) > bits + 1e-9:
        choices: list[tuple[float, Widths]] = []
        for unit in UNITS:
            if unit.bits(widths) > LOW:
                lowered = unit.applied(widths, unit.bits(widths) - 1)
                choices.append(((model.exact(lowered) - divergence) / unit.parameters, lowered))
        count += len(choices)
        widths = min(choices, key=lambda choice: choice[0])[1]
        divergence = model.exact(widths)
    return widths, count


@pytest.mark.parametrize("bits", [7.5, 6, 4.5, 3.2])
def test_an_exact_table_gives_the_steps_of_the_naive_search(bits: float):
    model = Model()
    found = steps_of(model, model.table(), at_most(bits))
    steps = taken(found)
    assert found[-1] is None  # met
    assert mean(steps[-1].widths) <= bits + 1e-9
    key, width = list(steps[-1].lowered.items())[-1]
    last = next(unit for unit in UNITS if unit.key == key)
    assert mean(last.applied(steps[-1].widths, width + 1)) > bits  # and no further
    assert len(model.measured) == len(steps) + 1
    assert steps[-1].widths == naive(model, bits)[0]


def test_steps_lower_units_bit_by_bit():
    model = Model(seed=1, bend=0.3)
    widths = START
    for step in taken(steps_of(model, model.table(wrong=1.0), at_most(4))):
        lowered = widths
        for unit in UNITS:
            if unit.key in step.lowered:
                assert LOW <= step.lowered[unit.key] < unit.bits(widths)
                lowered = unit.applied(lowered, step.lowered[unit.key])
        assert step.widths == lowered != widths
        assert step.divergence == model.exact(step.widths)
        widths = step.widths
    assert widths["pinned"] == (8, 2)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("wrong", "bend", "worse"), [(0.3, 0.0, 1.2), (0.5, 0.5, 1.25), (1.0, 0.0, 1.6)])
def test_a_wrong_table_is_corrected(seed: int, wrong: float, bend: float, worse: float):
    model = Model(seed, bend)
    steps = taken(steps_of(model, model.table(wrong, seed), at_most(4.5)))
    reference, count = naive(model, 4.5)
    assert steps[-1].divergence <= worse * model.exact(reference)
    assert len(model.measured) < 0.1 * count


@pytest.mark.parametrize("seed", range(4))
def test_noise_does_not_lead_astray(seed: int):
    """Measurements as they are: a tenth off, up or down, so that a step is hardly seen above them."""
    model = Model(seed)
    noise: dict[tuple[int, ...], float] = {}
    generator = np.random.default_rng(seed)

    def noisy(widths: Widths) -> list[float]:
        key = tuple(unit.bits(widths) for unit in UNITS)
        return [model.exact(widths) * noise.setdefault(key, 1 + 0.07 * float(generator.standard_normal()))]

    steps = taken(list(greedy(SPACE, model.table(0.3, seed), noisy, [at_most(4.5)])))
    reference, count = naive(model, 4.5)
    assert model.exact(steps[-1].widths) <= 1.15 * model.exact(reference)
    assert len(noise) < 0.1 * count


def test_a_rise_of_few_images_is_no_rise():
    """Heavy tails: every measurement has one image that diverges as much as all others together."""
    model, generator = Model(0), np.random.default_rng(0)
    measured: dict[tuple[int, ...], list[float]] = {}

    def tailed(widths: Widths) -> list[float]:
        images = np.full(64, model.exact(widths))
        images[generator.integers(64)] *= 64
        return measured.setdefault(tuple(unit.bits(widths) for unit in UNITS), list(images))

    found = list(greedy(SPACE, model.table(), tailed, [at_most(4.5)]))
    assert len(measured) == len(found)  # nothing was measured that was not taken
    assert taken(found)[-1].widths == naive(model, 4.5)[0]


def test_a_rise_of_all_images_is_one():
    model, generator = Model(0), np.random.default_rng(0)
    table = model.table(1.0, 0)

    def spread(widths: Widths) -> list[float]:
        return list(model.exact(widths) * generator.uniform(0.5, 1.5, 64))

    trusted = taken(steps_of(model, table, at_most(4.5)))[-1].widths
    steps = taken(list(greedy(SPACE, table, spread, [at_most(4.5)])))
    assert model.exact(steps[-1].widths) <= 1.2 * model.exact(trusted)


def test_the_table_alone_would_be_far_worse():
    """What the corrections bring: steps in the order of the wrong table itself."""
    model = Model(0)
    table = model.table(1.0, 0)
    trusted = Model(0)
    trusted.exact = lambda widths: sum(table[u.key, u.bits(widths)] for u in UNITS)  # type: ignore[method-assign]
    misled = taken(steps_of(trusted, table, at_most(4.5)))[-1].widths
    assert taken(steps_of(model, table, at_most(4.5)))[-1].divergence < 0.85 * model.exact(misled)


def test_a_divergence_of_zero_moves_on():
    found = steps_of(Model(), Model().table(), at_most(4))
    assert list(greedy(SPACE, Model().table(), lambda _: [0.0], [at_most(4)]))[-1] is None
    assert len(found) > 1


def test_divergences_that_fall_are_taken():
    """Quantizing a little more can help by chance; the search still ends."""
    generator = np.random.default_rng(5)
    noise: dict[tuple[int, ...], float] = {}

    def measure(widths: Widths) -> list[float]:
        key = tuple(unit.bits(widths) for unit in UNITS)
        return [noise.setdefault(key, float(generator.normal()) * 0.01)]

    found = list(greedy(SPACE, Model().table(), measure, [at_most(3.5)]))
    assert found[-1] is None
    assert mean(taken(found)[-1].widths) <= 3.5 + 1e-9


def test_several_limits_in_one_run():
    model, single = Model(3), Model(3)
    found = steps_of(model, model.table(0.5), at_most(6), at_most(4.5), at_most(3.5))
    stops = [index for index, step in enumerate(found) if step is None]
    assert len(stops) == 3
    assert stops[-1] == len(found) - 1
    for stop, bits in zip(stops, (6, 4.5, 3.5), strict=True):
        reached = found[stop - 1]
        assert reached is not None
        assert bits - 0.2 < mean(reached.widths) <= bits
    alone = taken(steps_of(single, single.table(0.5), at_most(6)))
    assert taken(found)[: len(alone)] == alone  # the first is what a search for it alone gives
    assert len(set(model.measured)) >= 0.7 * len(model.measured)


def test_a_limit_that_is_met_already():
    model = Model()
    assert steps_of(model, model.table(), at_most(8)) == [None]
    found = steps_of(model, model.table(), at_most(9), at_most(7.9), at_most(7.9))
    assert found[0] is None
    assert found[-2:] == [None, None]


def test_it_ends_when_nothing_is_left():
    model = Model()
    found = steps_of(model, model.table(), at_most(5), at_most(2.5))
    assert found.count(None) == 1  # the second is never met
    steps = taken(found)
    assert all(unit.bits(steps[-1].widths) == LOW for unit in UNITS)
    assert steps_of(model, model.table(), at_most(5), units=[]) == []


def test_only_the_given_units_move():
    model = Model()
    steps = taken(steps_of(model, model.table(), at_most(1), units=UNITS[::2]))
    assert {key for step in steps for key in step.lowered} == {unit.key for unit in UNITS[::2]}
    assert all(unit.bits(steps[-1].widths) == HIGH for unit in UNITS[1::2])


def test_what_brings_nothing_does_not_move():
    useless = {unit.key for unit in UNITS[:5]}
    limit = Limit(lambda u, _: 0.0 if u.key in useless else u.parameters / TOTAL, at_most(4.8).met)
    model = Model()
    steps = taken(steps_of(model, model.table(), limit))
    assert not useless & {key for step in steps for key in step.lowered}
    assert mean(steps[-1].widths) <= 4.8


def test_a_cheap_unit_that_gains_little_waits_for_one_that_gains_much():
    big, small = Unit("big", "weights", 100, 0), Unit("small", "weights", 1, 0)
    costs: dict[str, Callable[[int], float]] = {"big": lambda b: 10.0 * (8 - b), "small": lambda b: 1.0 * (8 - b)}
    table = {(u.key, b): costs[u.layer](b) for u in (big, small) for b in BITS}
    start: Widths = {"big": (8, 8), "small": (8, 8)}
    limit = Limit(lambda unit, _: float(unit.parameters), lambda widths: widths["big"][0] < 8)
    measure = lambda widths: [sum(costs[name](pair[0]) for name, pair in widths.items())]  # noqa: E731
    steps = taken(list(greedy(SearchSpace([small, big], start, WidthDomain.of_range(BITS)), table, measure, [limit])))
    assert [step.lowered for step in steps] == [{big.key: 7}]


def test_the_same_inputs_give_the_same_steps():
    runs = []
    for order in (1, -1):
        model = Model(4, 0.2)
        runs.append((steps_of(model, model.table(0.7), at_most(3.7), units=UNITS[::order]), model.measured))
    assert runs[0] == runs[1]  # not even the order of the units matters


def test_equal_units_are_lowered_by_name():
    same = [Unit(name, "weights", 1, 0) for name in "cab"]
    start: Widths = {unit.layer: (4, 4) for unit in same}
    table = {(unit.key, b): float(4 - b) for unit in same for b in (3, 4)}
    measure = lambda widths: [float(sum(4 - w for w, _ in widths.values()))]  # noqa: E731
    limit = Limit(lambda _u, _w: 1.0, lambda _w: False)
    found = taken(list(greedy(SearchSpace(same, start, WidthDomain.of_range(BITS)), table, measure, [limit])))
    assert [key for step in found for key in step.lowered] == ["a:weights", "b:weights", "c:weights"]
    assert math.isclose(found[-1].divergence, 3)
    assert all(a.divergence < b.divergence for a, b in itertools.pairwise(found))

"""What a base proposes, against divergences that are known in closed form; the table is wrong by kind of unit."""

from collections.abc import Mapping
from copy import copy
from statistics import fmean

import numpy as np
import pytest

from mptq_export.allocate.constraint import Constraint
from mptq_export.allocate.corrections import Corrections, Group
from mptq_export.allocate.integer_programme import solve
from mptq_export.allocate.quantized_base import Rebased, propose, rebased, sum_errs
from mptq_export.allocate.search_space import SearchSpace
from mptq_export.allocate.sensitivity import SensitivityTable
from mptq_export.allocate.units import Unit, Widths
from mptq_export.allocate.width_domain import WidthDomain

COUNT, IMAGES = 24, 32
DOMAIN = WidthDomain.of_range(range(2, 9))
UNITS = [Unit(f"layer{i:02}", "weights", 1 + i % 3, 0) for i in range(COUNT)]
KINDS = {unit.key: "early" if i < COUNT // 2 else "late" for i, unit in enumerate(UNITS)}
TOTAL = sum(unit.parameters for unit in UNITS)
START: Widths = {unit.layer: (3, 8) for unit in UNITS}
SPACE = SearchSpace(UNITS, START, DOMAIN).around(START, 2)


def within(bits: float) -> Constraint:
    prices = {(unit.layer, b): float(unit.parameters * b) for unit in UNITS for b in DOMAIN.weights}
    return Constraint(prices, {}, bits * TOTAL)


class Model:
    """Sums of what units cost, those of a kind times a factor that the table does not know; images have noise."""

    def __init__(self, factors: Mapping[str, float], noise: float = 0.0) -> None:
        generator = np.random.default_rng(1)
        self._scale = generator.exponential(1.0, COUNT) + 0.2
        self.table: SensitivityTable = {
            (unit.key, b): float(scale * 4.0 ** (3 - b))
            for unit, scale in zip(UNITS, self._scale, strict=True)
            for b in DOMAIN.weights
        }
        self._factors, self._noise = factors, noise
        self.measured: list[Widths] = []

    def exact(self, widths: Widths) -> float:
        return sum(self._factors[KINDS[unit.key]] * self.table[unit.key, unit.bits(widths)] for unit in UNITS)

    def __call__(self, widths: Widths) -> list[float]:
        self.measured.append(widths)
        generator = np.random.default_rng(len(self.measured))
        return list(self.exact(widths) * (1 + self._noise * generator.standard_normal(IMAGES)))


def test_a_right_table_needs_one_proposal():
    model = Model({"early": 1.0, "late": 1.0})
    found = propose(SPACE, model.table, model, [within(3.0)], KINDS)
    assert found == solve(SPACE, model.table, [within(3.0)])
    assert model.exact(found) < model.exact(START)
    assert len(model.measured) <= 6  # base, proposal, its groups


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_factors_by_kind_are_learned(noise: float):
    factors = {"early": 3.0, "late": 0.8}
    model = Model(factors, noise)
    found = propose(SPACE, model.table, model, [within(3.0)], KINDS)
    assert found is not None
    true = {key: factors[KINDS[key[0]]] * value for key, value in model.table.items()}
    best = model.exact(solve(SPACE, true, [within(3.0)]))
    misled = model.exact(solve(SPACE, model.table, [within(3.0)]))
    assert best < misled
    assert model.exact(found) <= best + 0.3 * (misled - best)
    assert within(3.0).met(found)
    assert len(model.measured) <= 17
    assert len({tuple(widths.items()) for widths in model.measured}) == len(model.measured)


def test_what_is_worse_is_not_proposed():
    """Widths that the measurement likes less than the base, whatever the table says."""
    model = Model({"early": 1.0, "late": 1.0})
    assert propose(SPACE, model.table, lambda widths: [1.0 + 0.1 * (widths != START)], [within(3.0)], KINDS) is None


def test_units_stay_near_the_base():
    near = SPACE.around({**START, "layer00": (8, 8), "layer01": (2, 8)}, 1)
    assert [near.widths(unit) for unit in UNITS[:3]] == [(7, 8), (2, 3), (2, 3, 4)]
    assert near.weight_widths("layer01") == (2, 3)
    assert near.around(START, 0).widths(UNITS[0]) == (3,)
    model = Model({"early": 1.0, "late": 1.0})
    found = propose(near, model.table, model, [within(3.5)], KINDS)
    assert found is not None
    assert all(unit.bits(found) in near.widths(unit) for unit in UNITS)


@pytest.mark.parametrize(
    ("images", "errs"),
    [
        ([1.0] * 9, False),
        ([1.2] * 9, False),
        ([1.5] * 9, True),
        ([0.5] * 9, True),
        ([0.1, 0.1, 4.3], False),
        ([2.0], True),
    ],
)
def test_a_sum_errs_by_more_than_the_noise_of_images(images: list[float], errs: bool):
    assert sum_errs(images, 1.0) == errs


class Solved(Model):
    """A problem whose bases have the factors of their own, and codes that fit them alone."""

    def __init__(self, factors: Mapping[str, float], at_home: float = 1.0, spread: float = 0.0) -> None:
        super().__init__(factors)
        self.space, self.kinds, self.at_home, self.spread = SPACE, KINDS, at_home, spread
        self.asked: list[tuple[Widths, int]] = []

    def around(self, widths: Widths, reach: int) -> "Solved":
        self.asked.append((widths, reach))
        other = copy(self)
        other.space = SPACE.around(widths, reach)
        other.table = {(u.key, b): self.table[u.key, b] for u in UNITS for b in other.space.widths(u)}
        return other

    def divergences(self, widths: Widths) -> list[float]:
        images = np.full(IMAGES, self.exact(widths))
        if self.space.start != START:
            images *= self.at_home + self.spread * (-1.0) ** np.arange(IMAGES)
        return list(images)


def judged(problem: Solved) -> Rebased:
    return rebased(problem, lambda base, widths: base.divergences(widths), [within(3.0)], START)  # type: ignore[arg-type, attr-defined]


def test_a_proposal_is_judged_with_quantizers_of_its_own():
    problem = Solved({"early": 1.0, "late": 1.0})
    found = judged(problem)
    assert found.before == pytest.approx(problem.exact(START)) and found.divergence < found.before
    assert found.divergence == pytest.approx(problem.exact(found.widths))
    assert [reach for _, reach in problem.asked] == [1, 0]
    assert [widths for widths, _ in problem.asked] == [START, found.widths]


def test_a_proposal_that_is_worse_at_home_or_better_by_luck_is_not_taken():
    for problem in (Solved({"early": 1.0, "late": 1.0}, 3.0), Solved({"early": 1.0, "late": 1.0}, 1.0, 9.0)):
        found = judged(problem)
        assert found.widths == START and found.divergence == found.before
        assert [reach for _, reach in problem.asked] == [1, 0]


def test_a_factor_goes_to_its_group_alone():
    model = Model({"early": 2.0, "late": 1.0})
    corrections = Corrections(SPACE, model.table, KINDS, model(START))
    lower = dict(START)
    for unit in UNITS:
        lower = unit.applied(lower, 2)
    groups = corrections.moved(lower)
    assert set(groups) == {Group("early", wider=False), Group("late", wider=False)}
    before = {key: corrections.doubt(groups[key]) for key in groups}
    corrections.learn(groups[Group("early", wider=False)], model(groups[Group("early", wider=False)]))
    table = corrections.table()
    for unit in UNITS:
        rise = model.table[unit.key, 2] - model.table[unit.key, 3]
        assert table[unit.key, 2] == pytest.approx(rise * (2.0 if KINDS[unit.key] == "early" else 1.0), rel=0.02)
        assert table[unit.key, 3] == 0
        assert table[unit.key, 4] == pytest.approx(model.table[unit.key, 4] - model.table[unit.key, 3])
    assert corrections.doubt(groups[Group("early", wider=False)]) < 0.25 * before[Group("early", wider=False)]
    assert corrections.doubt(groups[Group("late", wider=False)]) == pytest.approx(before[Group("late", wider=False)])
    early, late = groups[Group("early", wider=False)], groups[Group("late", wider=False)]
    assert corrections.expected(early) == pytest.approx(model.exact(early) - model.exact(START), rel=0.02)
    assert fmean(model(late)) > fmean(model(START))

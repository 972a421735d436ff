"""Rounds on a base against divergences that are known in closed form, with a table that is wrong by kind of unit."""

from collections.abc import Mapping
from statistics import fmean

import numpy as np
import pytest

from mptq_export.allocate.constraint import Constraint
from mptq_export.allocate.corrections import Corrections, Group
from mptq_export.allocate.integer_programme import solve
from mptq_export.allocate.quantized_base import Improved, improve
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


def improved(model: Model, most: float = 3.0) -> Improved:
    return improve(SPACE, model.table, model, [within(most)], KINDS)


def test_a_right_table_needs_one_proposal():
    model = Model({"early": 1.0, "late": 1.0})
    found = improved(model)
    assert found.widths == solve(SPACE, model.table, [within(3.0)])
    assert found.divergence == pytest.approx(model.exact(found.widths))
    assert found.divergence < found.before == pytest.approx(model.exact(START))
    assert len(model.measured) <= 6  # base, proposal, its groups; all widths in one


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_factors_by_kind_are_learned(noise: float):
    factors = {"early": 3.0, "late": 0.8}
    model = Model(factors, noise)
    found = improved(model)
    true = {key: factors[KINDS[key[0]]] * value for key, value in model.table.items()}
    best = model.exact(solve(SPACE, true, [within(3.0)]))
    misled = model.exact(solve(SPACE, model.table, [within(3.0)]))
    assert best < misled
    assert model.exact(found.widths) <= best + 0.3 * (misled - best)
    assert within(3.0).met(found.widths)
    assert len(model.measured) <= 17


def test_nothing_better_is_the_start():
    """Widths that the measurement likes less than the base, whatever the table says."""
    model = Model({"early": 1.0, "late": 1.0})
    found = improve(SPACE, model.table, lambda widths: [1.0 + 0.1 * (widths != START)], [within(3.0)], KINDS)
    assert found == Improved(START, 1.0, 1.0)


def test_units_stay_near_the_base():
    near = SPACE.around({**START, "layer00": (8, 8), "layer01": (2, 8)}, 1)
    assert [near.widths(unit) for unit in UNITS[:3]] == [(7, 8), (2, 3), (2, 3, 4)]
    assert near.weight_widths("layer01") == (2, 3)
    model = Model({"early": 1.0, "late": 1.0})
    found = improve(near, model.table, model, [within(3.5)], KINDS)
    assert all(unit.bits(found.widths) in near.widths(unit) for unit in UNITS)


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

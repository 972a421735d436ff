"""What a table gets wrong by kind of unit, learned from measurements in which many units move at once.

Estimates of single units do not add up alike everywhere: what is lost early comes to more, uniform errors to less than
their sum. One unit alone moves the divergence by less than its noise, so factors are those of groups: units of one kind
that get narrower, or wider. Every measurement is a line of a linear model, rise = sum over groups of factor times
estimate; factors are its ridge regression towards 1, weighted by how sure each measured rise is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from mptq_export.allocate.noise import standard_error
from mptq_export.allocate.search_space import SearchSpace
from mptq_export.allocate.sensitivity import SensitivityTable
from mptq_export.allocate.units import Unit, Widths

#: How far factors are expected to be from 1 before anything is measured.
_SPREAD = 0.5

#: Noise of a measured rise, as a share of the divergence: all rounding errors behind a change fall anew.
_NOISE = 0.03

#: Of a rise, so that nothing is divided by 0.
_LEAST_ERROR = 1e-12

#: No factor is believed beyond these.
_LEAST, _MOST = 0.25, 4.0


@dataclass(frozen=True, order=True)
class Group:
    """Units that are thought to be wrong alike.

    Attributes:
        kind: of unit.
        wider: whether they get more bits than at the start, or fewer.
    """

    kind: str
    wider: bool


class Corrections:
    """A table around the start of a space, and factors of it."""

    def __init__(
        self, space: SearchSpace, table: SensitivityTable, kinds: Mapping[str, str], level: Sequence[float]
    ) -> None:
        """Trust the table.

        Args:
            space: what moves, and from where.
            table: estimated divergence of every unit and width.
            kinds: kind of every unit, by its key.
            level: divergence of every image at the start, or one number for all.
        """
        self._space, self._table, self._kinds, self._level = space, table, kinds, level
        self._groups = [Group(kind, wider) for kind in sorted(set(kinds.values())) for wider in (False, True)]
        self._lines: list[NDArray[np.float64]] = []  # estimates by group over the standard error
        self._rises: list[float] = []  # measured rise over the standard error

    def moved(self, widths: Widths) -> dict[Group, Widths]:
        """By group, the start with those units moved that have other widths; groups that stay are left out."""
        found: dict[Group, Widths] = {}
        for unit in self._space.units:
            bits = unit.bits(widths)
            if bits != unit.bits(self._space.start):
                group = self._group(unit, bits)
                found[group] = unit.applied(found.get(group, self._space.start), bits)
        return found

    def learn(self, widths: Widths, images: Sequence[float]) -> None:
        """Take a measurement.

        Args:
            widths: of all layers.
            images: the divergence that they have on every image, or one number for all.
        """
        rise, error = self.rise(images)
        self._lines.append(self._estimates(widths) / error)
        self._rises.append(rise / error)

    def rise(self, images: Sequence[float]) -> tuple[float, float]:
        """How far the divergence of every image rises from the start on average, and the standard error of that."""
        changes = np.subtract(images, self._level)
        noise = _NOISE * max(fmean(self._level), fmean(images))
        error = float(np.hypot(noise, standard_error(changes)))
        return float(changes.mean()), max(error, _LEAST_ERROR)

    def expected(self, widths: Widths) -> float:
        """How far the divergence is expected to rise from the start."""
        return float(self._estimates(widths) @ self._regression()[0])

    def doubt(self, widths: Widths) -> float:
        """Standard error of `expected`, as far as factors are unknown."""
        estimates = self._estimates(widths)
        return float(np.sqrt(estimates @ self._regression()[1] @ estimates))

    def table(self) -> SensitivityTable:
        """The estimates with their factors: the rise from the start."""
        factors = dict(zip(self._groups, np.clip(self._regression()[0], _LEAST, _MOST), strict=True))
        return {
            (unit.key, bits): self._rise(unit, bits) * float(factors[self._group(unit, bits)])
            for unit in self._space.units
            for bits in self._space.widths(unit)
        }

    def _group(self, unit: Unit, bits: int) -> Group:
        return Group(self._kinds[unit.key], bits > unit.bits(self._space.start))

    def _rise(self, unit: Unit, bits: int) -> float:
        return self._table[unit.key, bits] - self._table[unit.key, unit.bits(self._space.start)]

    def _estimates(self, widths: Widths) -> NDArray[np.float64]:
        """Summed rises by group."""
        found = dict.fromkeys(self._groups, 0.0)
        for unit in self._space.units:
            bits = unit.bits(widths)
            found[self._group(unit, bits)] += self._rise(unit, bits)
        return np.array(list(found.values()))

    def _regression(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Factors of all groups, and the covariance of what is unknown of them."""
        count = len(self._groups)
        lines, rises = np.array(self._lines).reshape(-1, count), np.array(self._rises)
        precision = np.eye(count) / _SPREAD**2 + lines.T @ lines
        covariance = np.asarray(np.linalg.inv(precision), np.float64)
        return 1 + covariance @ lines.T @ (rises - lines.sum(1)), covariance

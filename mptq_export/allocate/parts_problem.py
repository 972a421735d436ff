"""Several models under one budget: the parts of a two-stage detector, each with its own inputs, searched as one.

A layer is called `PART/LAYER`. What a part computes, it computes for each of its inputs, of which a picture has many
(regions); so operations and time count as often. Parts lose different things (features and proposals, boxes of regions,
pixels of masks), so each counts by its own scale: its divergence over the one that it has with everything at the middle
of the range.
"""

import fnmatch
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean

import numpy as np

from mptq_export.allocate.bit_operations import BitOperations
from mptq_export.allocate.costs import Costs
from mptq_export.allocate.expected import SearchWork
from mptq_export.allocate.form import Sizes
from mptq_export.allocate.latency import LatencyTable
from mptq_export.allocate.problem import AllocationProblem
from mptq_export.allocate.request import SearchRequest
from mptq_export.allocate.search_space import SearchSpace
from mptq_export.allocate.sensitivity import SensitivityTable
from mptq_export.allocate.units import Unit, Widths, layers
from mptq_export.capture.graph import Graph
from mptq_export.support.errors import MptqError


@dataclass(frozen=True)
class PartProblem:
    """One of the models.

    Attributes:
        name: of the part.
        problem: it alone.
        per_picture: how many inputs of it a picture has, on average.
    """

    name: str
    problem: AllocationProblem
    per_picture: float

    def called(self, layer: str) -> str:
        """A layer's name among all parts."""
        return f"{self.name}/{layer}"

    def own(self, widths: Widths) -> Widths:
        """Of the widths of all parts, its own."""
        return {layer: widths[self.called(layer)] for layer in self.problem.space.start}

    @cached_property
    def scale(self) -> float:
        """What a divergence of it is divided by."""
        space = self.problem.space
        widths = dict(space.start)
        for unit in space.units:
            choices = space.widths(unit)
            widths = unit.applied(widths, choices[(len(choices) - 1) // 2])
        found = fmean(self.problem.divergences(widths))
        return found if found > 0 else 1.0


class PartsProblem:
    """What a search of all parts solves; see `searchable.Problem`."""

    def __init__(self, parts: Sequence[PartProblem], settings: SearchRequest) -> None:
        """Put them side by side.

        Args:
            parts: in the order of the detector.
            settings: what is searched; pins are of layers of any part.
        """
        self._parts, self.settings, self.form = parts, settings, parts[0].problem.form
        self.space = _space(parts)
        self.costs = _costs([(part, part.problem.costs) for part in parts])
        self.unit = 1.0  # of divergences by their scale
        self._known: dict[tuple[str, tuple[tuple[int, int], ...]], list[float]] = {}

    @property
    def costs_of_codes(self) -> Costs:
        """`costs` with what the codes of all catalogues really take."""
        return _costs([(part, part.problem.costs_of_codes) for part in self._parts])

    @property
    def work(self) -> tuple[SearchWork, ...]:
        """What decides how long it takes, of each part."""
        return tuple(work for part in self._parts for work in part.problem.work)

    @property
    def identity(self) -> str:
        """What a journal belongs to."""
        told = [(part.name, part.per_picture, part.problem.identity) for part in self._parts]
        return hashlib.sha256(repr(told).encode()).hexdigest()

    @cached_property
    def table(self) -> SensitivityTable:
        """Estimated divergence of every unit and width."""
        return {
            (part.called(key), bits): value / part.scale
            for part in self._parts
            for (key, bits), value in part.problem.table.items()
        }

    def divergences(self, widths: Widths) -> list[float]:
        """The sum over the parts, each by its scale; inputs are put together in as many groups as the fewest are."""
        each = [np.divide(self._of(part, widths), part.scale) for part in self._parts]
        groups = min(map(len, each))
        total = np.zeros(groups)
        for values in each:  # as groups may differ by one, sums keep the mean what it is
            total += [some.sum() * groups / len(values) for some in np.array_split(values, groups)]
        return [float(value) for value in total]

    def measure_latency(self) -> LatencyTable:
        """What the widths cost in time, here and now: each part one input at a time."""
        times: dict[tuple[str, int], float] = {}
        other = 0.0
        for part in self._parts:
            table = part.problem.measure_latency()
            times |= {(part.called(layer), bits): ms * part.per_picture for (layer, bits), ms in table.layers.items()}
            other += table.other * part.per_picture
        return LatencyTable(times, other)

    def _of(self, part: PartProblem, widths: Widths) -> list[float]:
        """Its divergences at widths; those of the last ones are kept, as most steps change one part."""
        own = part.own(widths)
        key = part.name, tuple(own.values())
        if key not in self._known:
            self._known = {kept: value for kept, value in self._known.items() if kept[0] != part.name}
            self._known[key] = part.problem.divergences(own)
        return self._known[key]


def pins_of(graphs: Sequence[Graph], pins: Mapping[str, tuple[int, int]]) -> list[dict[str, tuple[int, int]]]:
    """The pins of every part: those that match a layer of it.

    Args:
        graphs: prepared canonical graphs of all parts.
        pins: (weights, activations) by shell pattern of layer names.

    Raises:
        MptqError: one matches no layer of any part.
    """
    names = [[node.name for node in layers(graph)] for graph in graphs]
    for pattern in pins:
        if not any(fnmatch.filter(each, pattern) for each in names):
            raise MptqError(
                f"--pin {pattern} matches no layer of any part; layers are named like {names[0][0]} or {names[-1][-1]}"
            )
    return [{pattern: pair for pattern, pair in pins.items() if fnmatch.filter(each, pattern)} for each in names]


def _space(parts: Sequence[PartProblem]) -> SearchSpace:
    spaces = [(part, part.problem.space) for part in parts]
    return SearchSpace(
        [_among_all(part, unit) for part, space in spaces for unit in space.units],
        {part.called(layer): pair for part, space in spaces for layer, pair in space.start.items()},
        parts[0].problem.space.domain,
        {part.called(layer): pair for part, space in spaces for layer, pair in space.pinned.items()},
        {part.called(layer): bits for part, space in spaces for layer, bits in space.fixed.items()},
    )


def _among_all(part: PartProblem, unit: Unit) -> Unit:
    """A unit of a part by the names that its layers have among all."""
    others = tuple(part.called(name) for name in unit.other_calls)
    return replace(unit, layer=part.called(unit.layer), other_calls=others)


def _costs(each: Sequence[tuple[PartProblem, Costs]]) -> Costs:
    """Sums over a picture, of every part's own."""

    def often(part: PartProblem, macs: Mapping[str, int]) -> dict[str, int]:
        return {part.called(layer): round(count * part.per_picture) for layer, count in macs.items()}

    sizes = [(part, costs.sizes) for part, costs in each if costs.sizes is not None]
    operations = [(part, costs.operations) for part, costs in each]
    return Costs(
        {part.called(layer): count for part, costs in each for layer, count in costs.parameters.items()},
        {layer: count for part, costs in each for layer, count in often(part, costs.macs).items()},
        Sizes(
            sum(size.other for _, size in sizes),
            {(part.called(layer), bits): n for part, size in sizes for (layer, bits), n in size.stored.items()},
        ),
        operations=BitOperations(
            {layer: count for part, its in operations for layer, count in often(part, its.macs).items()},
            frozenset(part.called(layer) for part, its in operations for layer in its.products),
            {part.called(layer): bits for part, its in operations for layer, bits in its.fixed.items()},
            operations[0][1].right,
        ),
    )

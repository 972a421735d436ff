"""What a search has found out of its model before it measures candidates, as numbers that a file can hold."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from mptq_export.allocate.bit_operations import BitOperations
from mptq_export.allocate.costs import Costs
from mptq_export.allocate.form import Sizes
from mptq_export.allocate.latency import LatencyTable
from mptq_export.allocate.prices import Prices
from mptq_export.allocate.search_space import SearchSpace
from mptq_export.allocate.sensitivity import SensitivityTable
from mptq_export.allocate.units import Side, Unit, Widths
from mptq_export.allocate.width_domain import WidthDomain


@dataclass(frozen=True)
class StoredLayer:
    """A layer and what its widths cost.

    Attributes:
        start: the widest (weights, activations).
        pinned: whether it does not move.
        fixed: width of its activations where that alone does not move; None where it does.
        parameters: how many weights it has; None where it has none of its own.
        macs: multiply-accumulates of an image whose operands have a width; None where they have none.
        operations: multiply-accumulates of an image that count as bit operations.
        product: whether both factors are activations.
        operations_fixed: width of its activations as bit operations count them, where it does not move.
        file_bytes: what its codes take in a file, by width.
        milliseconds: of an image, by width of the activations; empty where times were not measured.
    """

    start: tuple[int, int]
    pinned: bool
    fixed: int | None
    parameters: int | None
    macs: int | None
    operations: int | None
    product: bool
    operations_fixed: int | None
    file_bytes: dict[str, float]
    milliseconds: dict[str, float]


@dataclass(frozen=True)
class StoredUnit:
    """A unit (`units.Unit`) and its estimates.

    Attributes:
        layer: name of its layer.
        side: what of the layer moves.
        parameters: how many weights.
        macs: multiply-accumulates that read its activations.
        other_calls: further calls of the layer.
        estimates: what each width is expected to cost alone, in divergence of the outputs.
    """

    layer: str
    side: Side
    parameters: int
    macs: int
    other_calls: tuple[str, ...]
    estimates: dict[str, float]

    @cached_property
    def unit(self) -> Unit:
        """The unit."""
        return Unit(self.layer, self.side, self.parameters, self.macs, self.other_calls)


@dataclass(frozen=True)
class StoredProblem:
    """What moves, what it costs, and what that is expected to do to the outputs.

    Attributes:
        layers: all that have widths, in graph order.
        units: what moves.
        weights: widths of weights to choose from, rising.
        activations: widths of activations to choose from, rising.
        other_bytes: of a file, all that is not weight codes; None where sizes were not measured.
        other_milliseconds: of an image, all that is no layer; None where times were not measured.
        right: width of the second factor of a product of two activations, as bit operations count it; None: that of the
            first.
        scale: of estimates and measurements, as `Problem.unit` says it.
    """

    layers: dict[str, StoredLayer]
    units: tuple[StoredUnit, ...]
    weights: tuple[int, ...]
    activations: tuple[int, ...]
    other_bytes: float | None
    other_milliseconds: float | None
    right: int | None
    scale: float

    @staticmethod
    def of(space: SearchSpace, costs: Costs, table: SensitivityTable, scale: float) -> "StoredProblem":
        """The numbers of a problem."""
        sizes, times, operations = costs.sizes, costs.latency, costs.operations
        stored = _by_layer({} if sizes is None else sizes.stored)
        timed = _by_layer({} if times is None else times.layers)
        layers = {
            name: StoredLayer(
                start=pair,
                pinned=name in space.pinned,
                fixed=space.fixed.get(name),
                parameters=costs.parameters.get(name),
                macs=costs.macs.get(name),
                operations=operations.macs.get(name),
                product=name in operations.products,
                operations_fixed=operations.fixed.get(name),
                file_bytes=stored.get(name, {}),
                milliseconds=timed.get(name, {}),
            )
            for name, pair in space.start.items()
        }
        units = tuple(
            StoredUnit(
                each.layer,
                each.side,
                each.parameters,
                each.macs,
                each.other_calls,
                {str(bits): table[each.key, bits] for bits in space.widths(each)},
            )
            for each in space.units
        )
        return StoredProblem(
            layers,
            units,
            space.domain.weights,
            space.domain.activations,
            None if sizes is None else sizes.other,
            None if times is None else times.other,
            operations.right,
            scale,
        )

    @cached_property
    def space(self) -> SearchSpace:
        """What moves, between which widths, and from where."""
        return SearchSpace(
            [each.unit for each in self.units],
            {name: each.start for name, each in self.layers.items()},
            WidthDomain(self.weights, self.activations),
            {name: each.start for name, each in self.layers.items() if each.pinned},
            {name: each.fixed for name, each in self.layers.items() if each.fixed is not None},
        )

    @cached_property
    def table(self) -> SensitivityTable:
        """Estimated divergence of every unit and width."""
        return {(each.unit.key, int(bits)): cost for each in self.units for bits, cost in each.estimates.items()}

    @cached_property
    def costs(self) -> Costs:
        """What widths cost."""
        layers = self.layers.items()
        other = self.other_bytes
        stored = _prices({name: each.file_bytes for name, each in layers})
        times = self.other_milliseconds
        return Costs(
            {name: each.parameters for name, each in layers if each.parameters is not None},
            {name: each.macs for name, each in layers if each.macs is not None},
            None if other is None else Sizes(other, stored),
            None if times is None else LatencyTable(_prices({name: each.milliseconds for name, each in layers}), times),
            BitOperations(
                {name: each.operations for name, each in layers if each.operations is not None},
                frozenset(name for name, each in layers if each.product),
                {name: each.operations_fixed for name, each in layers if each.operations_fixed is not None},
                self.right,
            ),
        )

    def summed(self, widths: Widths) -> float:
        """The sum of the estimates of all units."""
        return sum(self.table[unit.key, unit.bits(widths)] for unit in self.space.units)

    def part(self, name: str) -> "StoredProblem":
        """One of several models under one budget: layers `NAME/LAYER`, by their own names."""
        head = f"{name}/"
        return replace(
            self,
            layers={key.removeprefix(head): each for key, each in self.layers.items() if key.startswith(head)},
            units=tuple(
                replace(
                    each,
                    layer=each.layer.removeprefix(head),
                    other_calls=tuple(call.removeprefix(head) for call in each.other_calls),
                )
                for each in self.units
                if each.layer.startswith(head)
            ),
        )


def _by_layer(prices: Prices) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for (layer, bits), price in prices.items():
        found.setdefault(layer, {})[str(bits)] = price
    return found


def _prices(by_layer: Mapping[str, Mapping[str, float]]) -> Prices:
    return {(layer, int(bits)): price for layer, prices in by_layer.items() for bits, price in prices.items()}

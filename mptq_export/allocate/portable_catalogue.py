"""Quantizers of every width for every layer of the portable form, from one walk at the highest width.

There the widths of layers decide where codes are: a reader at another width than the value converts it, and what stands
between two layers has the wider of its operands. So there is a quantizer for every width that a value may have, and one
for every conversion that may be; a candidate takes those of its own sites.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from mptq_export.allocate.catalogue import EveryWeight, own_widths
from mptq_export.allocate.search_space import SearchSpace
from mptq_export.allocate.units import Unit, Widths
from mptq_export.calibrate.sites import Site
from mptq_export.calibrate.statistics import Range, Statistics
from mptq_export.capture import ops
from mptq_export.capture.deferred import Value
from mptq_export.capture.graph import Graph, Node
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.form import Simulation, SiteSearch, WidthsOf
from mptq_export.quantize.method import Method
from mptq_export.quantize.portable.form import Portable
from mptq_export.quantize.portable.search import PortableSearch
from mptq_export.quantize.portable.simulate import PortableSimulator
from mptq_export.quantize.portable.sites import PortableSites
from mptq_export.quantize.walk.following import following, seconds_of_nodes
from mptq_export.quantize.walk.state import WalkState
from mptq_export.quantize.walk.walk import Walk
from mptq_export.recipe.schema import ActivationQuant, CodeForm, SqB, WeightQuant
from mptq_export.support.processes.group import Alone, Group, Seat


class _Candidate(PortableSimulator):
    """A simulator whose layers change their widths.

    Attributes:
        widths: of all layers.
        bits: width of every site, by key.
    """

    def __init__(self, where: PortableSites, widths: Widths) -> None:
        super().__init__(where)
        self.widths = widths
        self.bits = {site.key: where.bits(site) for site in where.all}


@dataclass
class PortableCatalogue:
    """What the search composes candidates of.

    Attributes:
        form: of the file.
        space: the widths.
        weights: codes by (layer, bits).
        activations: quantizers by (site key, bits), those of conversions that may be among them.
    """

    form: Portable
    space: SearchSpace
    weights: dict[tuple[str, int], WeightQuant] = field(default_factory=dict)
    activations: dict[tuple[str, int], ActivationQuant] = field(default_factory=dict)

    def simulator(self, graph: Graph) -> _Candidate:
        """As the protocol says."""
        widths = dict(self.space.start)
        made = _Candidate(self.form.sites(graph, widths.__getitem__), widths)
        made.activations = {key: self.activations[key, bits] for key, bits in made.bits.items()}
        self._graph = graph
        return made

    def install(self, simulator: Simulation, widths: Widths, device: torch.device) -> Iterable[str]:
        """As the protocol says: what changes are the layers, and all nodes with codes of another width."""
        assert isinstance(simulator, _Candidate)
        for layer, (weights, _) in widths.items():
            if (layer, weights) in self.weights:
                simulator.set_weight(layer, self.weights[layer, weights], device)
        if all(simulator.widths[layer][1] == pair[1] for layer, pair in widths.items()):
            return widths
        changed = simulator.widths | widths
        simulator.widths = changed
        where = self.form.sites(self._graph, changed.__getitem__)
        before, simulator.bits = simulator.bits, {site.key: where.bits(site) for site in where.all}
        simulator.move_to(where)
        simulator.activations = {key: self.activations[key, bits] for key, bits in simulator.bits.items()}
        moved = {key for key, _ in before.items() ^ simulator.bits.items()}
        return {*widths, *(key.rpartition(".")[0] for key in moved)}

    def given(self, simulator: Simulation, graph: Graph, images: torch.Tensor) -> torch.Tensor:
        """As the protocol says: the input may have codes of its own, of one width."""
        assert isinstance(simulator, _Candidate)
        return simulator.given(graph, images)

    def simulated(self, _graph: Graph, _source: str, value: torch.Tensor) -> torch.Tensor:
        """As the protocol says: as it is."""
        return value

    def places(self, graph: Graph, unit: Unit) -> list[str]:
        """As the protocol says: the layer, and what has narrower codes where its activations have."""
        if unit.side == "weights":
            return list(unit.calls)
        lowered = unit.applied(self.space.start, self.space.widths(unit)[0])
        wide, narrow = (_Bits(self.form.sites(graph, widths.__getitem__)) for widths in (self.space.start, lowered))
        return [node.name for node in graph if node.name in unit.calls or narrow.rounds_more(node, wide)]


class _Bits:
    """Widths of all codes, at some widths of the layers."""

    def __init__(self, where: PortableSites) -> None:
        self._where, self._bits = where, {site.key: where.bits(site) for site in where.all}

    def rounds_more(self, node: Node, wide: "_Bits") -> bool:
        """Whether a node makes narrower codes than at other widths of the layers, of its result or of what it reads."""
        if isinstance(node.op, ops.Constant):
            return False
        made = [(f"{node.name}.output",) * 2] if self._where.has_result(node) else []
        for position in range(len(node.inputs)):
            key, other = (each._where.key(node, position) for each in (self, wide))
            if self._where.reads(node, position) and key is not None and other is not None:
                made.append((key, other))
        return any(self._bits[key] < wide._bits[other] for key, other in made)


@dataclass(frozen=True)
class _EveryConversion:
    """The form of a walk that also comes to conversions that its own widths do not have.

    Attributes:
        form: of the file.
        extra: the other conversions that there may be, by their reader.
    """

    form: Portable
    extra: dict[str, list[Site]]

    @property
    def weights(self) -> CodeForm:
        """As the protocol says."""
        return self.form.weights

    @property
    def has_weight_regions(self) -> bool:
        """As the protocol says."""
        return self.form.has_weight_regions

    def transformed(
        self, calibrated: CalibratedGraph, widths: WidthsOf, method: Method
    ) -> tuple[CalibratedGraph, dict[str, NDArray[np.float64]]]:
        """As the protocol says."""
        return self.form.transformed(calibrated, widths, method)

    def exponents(self, graph: Graph, stats: Statistics) -> dict[str, int]:
        """As the protocol says."""
        return self.form.exponents(graph, stats)

    def simulation(self, graph: Graph, exponents: dict[str, int], widths: WidthsOf) -> PortableSimulator:
        """As the protocol says; the other conversions change nothing of what is computed."""
        made = self.form.simulation(graph, exponents, widths)
        for name, sites in self.extra.items():
            made.sites.setdefault(name, []).extend(sites)
        return made

    @property
    def one_scale(self) -> bool:
        """As the protocol says."""
        return self.form.one_scale

    def of_range(self, seen: Range, bits: int) -> ActivationQuant:
        """As the protocol says."""
        return self.form.of_range(seen, bits)

    def stored(self, norm: Node, sq_b: SqB) -> SqB:
        """As the protocol says."""
        return self.form.stored(norm, sq_b)

    def search(
        self,
        *,
        graph: Graph,
        site: Site,
        value: Value,
        known: dict[str, ActivationQuant],
        method: Method,
        importance: torch.Tensor | None,
        layers: dict[str, torch.Tensor],
        values: Mapping[str, Value],
    ) -> PortableSearch:
        """As the protocol says."""
        return self.form.search(
            graph=graph,
            site=site,
            value=value,
            known=known,
            method=method,
            importance=importance,
            layers=layers,
            values=values,
        )


class _EveryActivation:
    """The step of a walk that goes on with the highest width, and keeps all that a site may have."""

    def __init__(self, catalogue: PortableCatalogue, possible: dict[str, set[int]], seat: Seat) -> None:
        self._catalogue, self._possible, self._seat = catalogue, possible, seat

    def choose(self, state: WalkState, site: Site, search: SiteSearch) -> ActivationQuant:
        possible, asked = sorted(self._possible[site.key]), state.simulator.width(state.graph, site)
        if asked not in possible:  # of a conversion that the walk itself does not have, nothing reads the codes
            asked = possible[0]
        found = {bits: search.at(bits) for bits in own_widths(self._seat, possible, asked)}
        self._catalogue.activations |= {(site.key, bits): quant for bits, quant in found.items()}
        return found[asked]


def collect_portable(
    form: Portable, calibrated: CalibratedGraph, method: Method, space: SearchSpace, group: Group | None = None
) -> PortableCatalogue:
    """Choose all quantizers.

    Args:
        form: of the file.
        calibrated: the graph whose transforms stand, with the images that quantizers are chosen from.
        method: which techniques are used, without SQ-b and balanced attention.
        space: the widths.
        group: processes that share the widths; None: this one alone.
    """
    first, *others = (group or Alone()).call(_collect, form, calibrated, method, space)
    for other in others:
        first.weights, first.activations = other.weights | first.weights, other.activations | first.activations
    return first


def _collect(
    seat: Seat, form: Portable, calibrated: CalibratedGraph, method: Method, space: SearchSpace
) -> PortableCatalogue:
    """Those of this process's widths."""
    catalogue = PortableCatalogue(form, space)
    sites = possible_sites(form, calibrated.graph, space)
    now = {site.key for site in form.sites(calibrated.graph, space.start.__getitem__).all}
    extra: dict[str, list[Site]] = {}
    for site, _ in sites:
        if site.key not in now:
            extra.setdefault(site.node.name, []).append(site)
    activations = _EveryActivation(catalogue, {site.key: bits for site, bits in sites}, seat)
    steps = activations, EveryWeight(space, catalogue.weights, seat)
    walk = Walk(calibrated, space.start.__getitem__, method, *steps, form=_EveryConversion(form, extra))
    images, regions = len(calibrated.images), form.has_weight_regions
    seconds = seconds_of_nodes(calibrated.graph, images, method, space.weight_widths, has_weight_regions=regions)
    walk.run(following(seconds, seat.bar))
    return catalogue


def possible_sites(form: Portable, graph: Graph, space: SearchSpace) -> list[tuple[Site, set[int]]]:
    """Every site that some widths of the space have, with the widths that it may have there.

    The width of a value never falls where a layer's rises: all that it may be it is where all layers that move have one
    width. Of conversions there may be fewer than are found: reader and value need not be able to differ.
    """
    each = [form.sites(graph, _one_width(space, bits)) for bits in dict.fromkeys((*space.domain.activations,))]
    found: list[tuple[Site, set[int]]] = []
    for node in graph:
        for position in range(len(node.inputs)):
            bits = _read_bits(each, node, position)
            if bits:
                found.append((each[0].operand(node, position), bits))
    results = {site.key: site for where in each for site in where.all if site.key not in {s.key for s, _ in found}}
    return found + [(site, {where.bits(site) for where in each}) for site in results.values()]


def _read_bits(each: list[PortableSites], node: Node, position: int) -> set[int]:
    """The widths of the codes that a reader may make of one of its inputs; none where it takes the value's own."""
    if not each[0].form.everywhere:
        return {where.bits(where.operand(node, position)) for where in each if where.reads(node, position)}
    root = each[0].graph.root(node.inputs[position])
    if not each[0].has_result(root):
        return set()
    given = {where.result_bits(root) for where in each}
    wanted = {bits for where in each if (bits := where.wanted(node, position)) is not None}
    return {bits for bits in wanted if given != {bits}}


def _one_width(space: SearchSpace, bits: int) -> WidthsOf:
    """All activations that move at one width, all else as it stands."""
    widths = {
        layer: (pair[0], bits if bits in space.activation_widths(layer) else pair[1])
        for layer, pair in space.start.items()
    }
    return widths.__getitem__

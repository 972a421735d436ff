"""A first estimate of what every width of every unit costs, from a few backward passes, not one run per candidate.

An error e of a layer's output changes the divergence of the outputs by about `(g . e)^2 / 2`, with g as in
`quantize/objective/row_importance.py`. Errors of different rows are taken as independent, and those of different nodes,
where a width is that of several (in the portable form a softmax has the width of its scores).
"""

import math
from dataclasses import dataclass

import torch

from mptq_export.allocate.form import Catalogue
from mptq_export.allocate.search_space import SearchSpace
from mptq_export.capture.evaluate import evaluate
from mptq_export.capture.graph import Graph, Node
from mptq_export.quantize.form import Simulation
from mptq_export.quantize.objective.divergence import hessian_draw, hessian_noise
from mptq_export.quantize.objective.row_importance import images_at_once
from mptq_export.recipe.metric import MetricName
from mptq_export.support.processes.group import Alone, Group, Seat

#: Random vectors per image. One alone leaves noise that the search takes for savings (docs/method.md). What costs time,
#: the errors, all of them share.
_DRAWS = 2

#: At most so many images go through at once: gradients of all layers and draws are kept.
_IMAGES = 4

SensitivityTable = dict[tuple[str, int], float]
"""Estimated divergence by (unit key, bits), never falling as bits fall."""


def sensitivity_table(
    graph: Graph,
    catalogue: Catalogue,
    images: torch.Tensor,
    space: SearchSpace,
    metric: MetricName | None = None,
    *,
    group: Group | None = None,
) -> SensitivityTable:
    """Estimate all units at all widths.

    Args:
        graph: the graph of the catalogue.
        catalogue: quantizers of every width.
        images: float32 inputs.
        space: what moves; all else has the widths where the search starts.
        metric: by which the outputs are compared; None takes that of their kinds.
        group: processes that share the images; None: this one alone.
    """
    estimate = _Estimate(graph, catalogue, space, metric)
    table: SensitivityTable = {(unit.key, b): 0.0 for unit in space.units for b in space.widths(unit)}
    shares = (group or Alone()).call(_share, estimate, images)
    for of_batch in (found for share in shares for found in share):
        for key, value in of_batch:
            table[key] += value
    count = len(images)
    for unit in space.units:
        floor = 0.0
        for b in reversed(space.widths(unit)):
            floor = table[unit.key, b] = max(floor, table[unit.key, b] / count)
    return table


@dataclass(frozen=True)
class _Estimate:
    """What an estimate is made of: arguments of `sensitivity_table`."""

    graph: Graph
    catalogue: Catalogue
    space: SearchSpace
    metric: MetricName | None

    def of_batch(
        self, simulator: Simulation, images: torch.Tensor, noises: list[torch.Tensor]
    ) -> list[tuple[tuple[str, int], float]]:
        """What every unit costs at every width for some images, a number for each of its places."""
        graph, space = self.graph, self.space
        places = {unit.key: self.catalogue.places(graph, unit) for unit in space.units}
        wanted = list(dict.fromkeys(name for names in places.values() for name in names))
        values: dict[str, torch.Tensor] = {}

        def observe(node: Node, value: torch.Tensor) -> None:
            values[node.name] = value

        with torch.enable_grad():
            output = evaluate(graph, images.double().requires_grad_(), observe)
            drawn = [(hessian_draw(graph, output, noise, self.metric) * output).sum() for noise in noises]
            reached = [values[name] for name in wanted]
            gradients = [torch.autograd.grad(each, reached, retain_graph=True) for each in drawn]
        gradients_at = dict(zip(wanted, zip(*gradients, strict=True), strict=True))
        at = _Places(graph, self.catalogue, values, gradients_at)
        found: list[tuple[tuple[str, int], float]] = []
        with torch.no_grad():
            for unit in space.units:
                for b in space.widths(unit):
                    self.catalogue.install(simulator, unit.given(space.start, b), images.device)
                    for name in places[unit.key]:
                        inputs, exact, directions = at.of(name)
                        error = simulator.compute(graph[name], inputs).double() - exact
                        moved = directions @ error[..., None]
                        found.append(((unit.key, b), float(moved.square().sum()) / (2 * _DRAWS)))
        return found


def _share(seat: Seat, estimate: _Estimate, images: torch.Tensor) -> list[list[tuple[tuple[str, int], float]]]:
    """`of_batch` for each of this process's batches; what is drawn for a batch is the same in all processes."""
    graph, space = estimate.graph, estimate.space
    generator = torch.Generator().manual_seed(0)
    numbers = sum(math.prod(node.shape.dims) for node in graph)
    batches = torch.split(images, min(_IMAGES, images_at_once(numbers)))
    simulator = estimate.catalogue.simulator(graph)
    if seat.rank:  # a batch finds the widths that the one before it left
        for unit in space.units:
            for b in space.widths(unit):
                estimate.catalogue.install(simulator, unit.given(space.start, b), images.device)
    own, found = seat.share(range(len(batches))), []
    for number, some in enumerate(batches):
        noises = [hessian_noise(graph, len(some), generator) for _ in range(_DRAWS)]
        if number in own:
            found.append(estimate.of_batch(simulator, some, noises))
            seat.bar.advance(1 / len(own))
    return found


_Place = tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]
"""What a node reads, float32, as the simulator expects it; what it gives, float64; gradients of all draws there."""


class _Places:
    """Nodes in the float model; the last one is kept."""

    def __init__(
        self,
        graph: Graph,
        catalogue: Catalogue,
        values: dict[str, torch.Tensor],
        gradients: dict[str, tuple[torch.Tensor, ...]],
    ) -> None:
        self._graph, self._catalogue, self._values, self._gradients = graph, catalogue, values, gradients
        self._kept: tuple[str, _Place] | None = None

    def of(self, name: str) -> _Place:
        """One node."""
        if self._kept is None or self._kept[0] != name:
            inputs = [self._input(source) for source in self._graph[name].inputs]
            self._kept = name, (inputs, self._values[name].detach(), torch.stack(self._gradients[name], -2))
        return self._kept[1]

    def _input(self, source: str) -> torch.Tensor:
        return self._catalogue.simulated(self._graph, source, self._values[source].detach().float())

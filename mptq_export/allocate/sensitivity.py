"""A first estimate of what every width of every unit costs, from a few backward passes, not one run per candidate.

An error e of a layer's output changes the divergence of the outputs by about `(g . e)^2 / 2`, with g as in
`quantize/objective/row_importance.py`. Errors of different rows are taken as independent.
"""

import torch

from mptq_export.allocate.catalogue import Catalogue
from mptq_export.allocate.search_space import SearchSpace
from mptq_export.allocate.units import Unit
from mptq_export.calibrate.sites import feeds_matmuls
from mptq_export.capture.evaluate import evaluate
from mptq_export.capture.graph import Graph, Node
from mptq_export.quantize.objective.divergence import hessian_draw
from mptq_export.recipe.metric import MetricName

#: Random vectors per image. One alone leaves noise that the search takes for savings (docs/method.md). What costs time,
#: the errors, all of them share.
_DRAWS = 2

#: Images that go through at once: gradients of all layers and draws are kept.
_IMAGES = 4

SensitivityTable = dict[tuple[str, int], float]
"""Estimated divergence by (unit key, bits), never falling as bits fall."""


def sensitivity_table(
    graph: Graph, catalogue: Catalogue, images: torch.Tensor, space: SearchSpace, metric: MetricName | None = None
) -> SensitivityTable:
    """Estimate all units at all widths.

    Args:
        graph: the graph of the catalogue.
        catalogue: quantizers of every width.
        images: float32 inputs.
        space: what moves; all else has the widths where the search starts.
        metric: by which the outputs are compared; None takes that of their kinds.
    """
    by_layer: dict[str, list[Unit]] = {}
    for unit in space.units:
        by_layer.setdefault(unit.layer, []).append(unit)
    simulator = catalogue.simulator(graph)
    table: SensitivityTable = {(unit.key, b): 0.0 for group in by_layer.values() for unit in group for b in space.bits}
    generator = torch.Generator().manual_seed(0)
    for some in torch.split(images, _IMAGES):
        values: dict[str, torch.Tensor] = {}

        def observe(node: Node, value: torch.Tensor, values: dict[str, torch.Tensor] = values) -> None:
            values[node.name] = value

        with torch.enable_grad():
            output = evaluate(graph, some.double().requires_grad_(), observe)
            drawn = [(hessian_draw(graph, output, generator, metric) * output).sum() for _ in range(_DRAWS)]
            reached = [values[name] for name in by_layer]
            gradients = [torch.autograd.grad(each, reached, retain_graph=True) for each in drawn]
        with torch.no_grad():
            for name, *of_draws in zip(by_layer, *gradients, strict=True):
                node, exact, directions = graph[name], values[name].detach(), torch.stack(of_draws, -2)
                inputs = [_as_simulated(graph, source, values[source].detach().float()) for source in node.inputs]
                for unit in by_layer[name]:
                    for b in space.bits:
                        catalogue.install(simulator, name, unit.applied(space.start, b)[name], some.device)
                        error = simulator.compute(node, inputs).double().sub_(exact)
                        moved = directions @ error[..., None]
                        table[unit.key, b] += float(moved.square().sum()) / (2 * _DRAWS)
    count = len(images)
    for group in by_layer.values():
        for unit in group:
            floor = 0.0
            for b in reversed(space.bits):
                floor = table[unit.key, b] = max(floor, table[unit.key, b] / count)
    return table


def _as_simulated(graph: Graph, source: str, value: torch.Tensor) -> torch.Tensor:
    """A float value as the simulator's node expects it: softmax without its division where matmuls divide."""
    return value / value.amax(-1, keepdim=True) if feeds_matmuls(graph, graph[source]) else value

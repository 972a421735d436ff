"""A first estimate of what every width of every unit costs, from a few backward passes instead of one run a candidate.

An error e of a layer's output changes the divergence of the outputs by about `(g . e)^2 / 2`, with g as in
`quantize.walk.row_importance`. Errors of different rows are taken as independent.
"""

from collections.abc import Iterable

import torch

from mptq_export.allocate.catalogue import Catalogue
from mptq_export.allocate.units import Unit, Widths
from mptq_export.calibrate.sites import feeds_matmuls
from mptq_export.capture.evaluate import evaluate
from mptq_export.capture.graph import Graph, Node
from mptq_export.quantize.simulation.divergence import hessian_draw
from mptq_export.quantize.simulation.simulate import Simulator
from mptq_export.recipe.schema import ActivationQuant

#: Random vectors an image. One alone leaves noise that the search takes for savings (docs/method.md). What costs time,
#: the errors, all of them share.
_DRAWS = 2

#: Images that go through at once: gradients of all layers and draws are kept.
_PART = 4

Table = dict[tuple[str, int], float]
"""Estimated divergence by (unit key, bits), never falling as bits fall."""


def sensitivity_table(
    graph: Graph,
    catalogue: Catalogue,
    activations: dict[str, ActivationQuant],
    images: torch.Tensor,
    units: Iterable[Unit],
    start: Widths,
    bits: range,
) -> Table:
    """Estimate all units at all widths.

    Args:
        graph: the graph of the catalogue.
        catalogue: quantizers of every width.
        activations: the quantizers that do not depend on a width.
        images: float32 inputs.
        units: what moves.
        start: widths of all layers where the search starts.
        bits: the widths, rising.
    """
    by_layer: dict[str, list[Unit]] = {}
    for unit in units:
        by_layer.setdefault(unit.layer, []).append(unit)
    simulator = Simulator(graph, catalogue.exponents)
    simulator.activations = dict(activations)
    table: Table = {(unit.key, b): 0.0 for group in by_layer.values() for unit in group for b in bits}
    generator = torch.Generator().manual_seed(0)
    for part in torch.split(images, _PART):
        values: dict[str, torch.Tensor] = {}

        def observe(node: Node, value: torch.Tensor, values: dict[str, torch.Tensor] = values) -> None:
            values[node.name] = value

        with torch.enable_grad():
            output = evaluate(graph, part.double().requires_grad_(), observe)
            drawn = [(hessian_draw(graph, output, generator) * output).sum() for _ in range(_DRAWS)]
            reached = [values[name] for name in by_layer]
            gradients = [torch.autograd.grad(each, reached, retain_graph=True) for each in drawn]
        with torch.no_grad():
            for name, *of_draws in zip(by_layer, *gradients, strict=True):
                node, exact, directions = graph[name], values[name].detach(), torch.stack(of_draws, -2)
                inputs = [_as_simulated(graph, source, values[source].detach().float()) for source in node.inputs]
                for unit in by_layer[name]:
                    for b in bits:
                        catalogue.install(simulator, name, unit.applied(start, b)[name], part.device)
                        error = simulator.compute(node, inputs).double().sub_(exact)
                        moved = directions @ error[..., None]
                        table[unit.key, b] += float(moved.square().sum()) / (2 * _DRAWS)
    count = len(images)
    for group in by_layer.values():
        for unit in group:
            floor = 0.0
            for b in reversed(bits):
                floor = table[unit.key, b] = max(floor, table[unit.key, b] / count)
    return table


def _as_simulated(graph: Graph, source: str, value: torch.Tensor) -> torch.Tensor:
    """A float value as the simulator's node expects it: softmax without its division where matmuls divide."""
    return value / value.amax(-1, keepdim=True) if feeds_matmuls(graph, graph[source]) else value

"""Greedy MP from a calibrated model: one search, and one recipe a budget."""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from mptq_export.allocate.budget import Budget
from mptq_export.allocate.constraint import as_limit, cheapest
from mptq_export.allocate.costs import Costs
from mptq_export.allocate.greedy_mp import Step, greedy
from mptq_export.allocate.journal import Journal
from mptq_export.allocate.solver import solve
from mptq_export.allocate.space import Space
from mptq_export.allocate.units import Widths
from mptq_export.support.errors import MptqError


@dataclass(frozen=True)
class Found:
    """What the search found for one budget.

    Attributes:
        budget: the budget.
        widths: widths of all layers.
        divergence: mean divergence on the search images, with the catalogue's quantizers.
        solver: `greedy` or `integer programme`, whichever was better.
        compared: the divergence of both.
    """

    budget: Budget
    widths: Widths
    divergence: float
    solver: str
    compared: dict[str, float]


@dataclass(frozen=True)
class Search:
    """The whole trade-off.

    Attributes:
        space: what was searched.
        costs: what widths cost, in time too.
        found: one result a budget, in the order of the budgets.
        front: every accepted step: what was lowered, mean bits, size, estimated latency, divergence.
        evaluations: different candidates that were measured.
    """

    space: Space
    costs: Costs
    found: list[Found]
    front: list[dict[str, Any]]
    evaluations: int

    def bits_text(self, found: Found) -> str:
        """The widths of one result in a few words."""
        weights, activations = self.costs.mean_bits(found.widths)
        return f"mixed {found.budget.text}: mean {weights:.2f}/{activations:.2f}"

    def estimates(self, found: Found) -> dict[str, float]:
        """What the width of every unit costs by itself, in divergence of the outputs."""
        return {unit.key: self.space.table[unit.key, unit.bits(found.widths)] for unit in self.space.units}


def search(
    space: Space, journal: Path, *, resume: bool, tick: Callable[[Step, float, float], None] | None = None
) -> Search:
    """Find widths for every budget.

    Args:
        space: what to search.
        journal: file that keeps every measurement.
        resume: go on from the journal, if it is of this search.
        tick: called after every accepted step with the mean widths of weights and activations.

    Raises:
        MptqError: a budget is below what the range allows, or the journal is of another search.
    """
    budgets = space.settings.budgets
    costs, low = space.costs, space.bits[0]
    for budget in budgets:
        if budget.kind != "latency":  # refused before anything else is computed
            _check_possible(space, budget, costs)
    with Journal.open(journal, _identity(space), resume=resume) as kept:
        costs = replace(costs, latency=kept.latency(space.latency))
        try:
            for budget in budgets:
                if budget.kind == "latency":
                    _check_possible(space, budget, costs)
        except MptqError:
            journal.unlink()  # it holds nothing that another search could use
            raise

        def measure(widths: Widths) -> list[float]:
            return kept.value(widths, lambda: space.evaluator.divergences(widths))

        front: list[dict[str, Any]] = []
        found: dict[int, Found] = {}
        order = sorted(range(len(budgets)), key=lambda i: -budgets[i].most)
        limits = [as_limit(costs.constraints(budgets[i]), low) for i in order]
        widths, divergence = space.start, fmean(measure(space.start))
        for step in greedy(space.units, space.table, measure, space.start, low, limits):
            if step is None:
                budget = budgets[order[len(found)]]
                constraints = costs.constraints(budget)
                programme = solve(space.units, space.table, space.start, space.bits, constraints)
                summed = fmean(measure(programme)) if all(c.met(programme) for c in constraints) else math.inf
                found[order[len(found)]] = _better(budget, (widths, divergence), (programme, summed))
                continue
            widths, divergence = step.widths, step.divergence
            front.append({"lowered": step.lowered, **costs.describe(widths), "divergence": divergence})
            if tick:
                tick(step, *costs.mean_bits(widths))
    results = [found[i] for i in range(len(budgets))]
    return Search(space, costs, results, front, len(kept.asked))


def _check_possible(space: Space, budget: Budget, costs: Costs) -> None:
    constraints = costs.constraints(budget)
    bottom = cheapest(constraints, space.start, space.units, space.bits)
    if all(constraint.met(bottom) for constraint in constraints):
        return
    least = costs.describe(bottom)
    has = f"mean widths {least['mean_weight_bits']:.2f}/{least['mean_activation_bits']:.2f}"
    has += f", about {least['file_bytes'] / 1e6:.2f} MB"
    has += f" and {least['latency_ms']:.1f} ms" if budget.kind == "latency" else ""
    remedy = "raise the budget, or lower --mixed-range"
    if budget.kind == "latency":
        remedy = "raise the budget: fewer bits make a smaller file, not a faster one, in onnxruntime"
    raise MptqError(
        f"--mixed {budget.text} cannot be met: at the cheapest widths of {space.bits[0]}-{space.bits[-1]} (pins "
        f"stand) it has {has}; {remedy}"
    )


def _better(budget: Budget, stepped: tuple[Widths, float], programme: tuple[Widths, float]) -> Found:
    """Greedy's result, or that of the integer programme, whichever diverges less."""
    compared = {"greedy": stepped[1], "integer programme": programme[1]}
    if programme[1] < stepped[1]:
        return Found(budget, *programme, "integer programme", compared)
    return Found(budget, *stepped, "greedy", compared)


def _identity(space: Space) -> str:
    """What a journal belongs to: the search, the images and the weights."""
    settings, digest = space.settings, hashlib.sha256()
    content = {"budgets": [b.text for b in settings.budgets], "bits": list(settings.widths), "tied": settings.tied}
    digest.update(json.dumps({**content, "pins": settings.pins, **asdict(space.asked)}, sort_keys=True).encode())
    digest.update(" ".join(space.graph.maps).encode() + space.images.cpu().numpy().tobytes())
    for name, quant in space.recipe.weights.items():
        digest.update(name.encode() + quant.codes.tobytes())
    return digest.hexdigest()

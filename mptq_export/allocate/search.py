"""Greedy MP from a calibrated model: transforms, quantizers of every width, the search, and one recipe a budget."""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mptq_export.allocate.budget import Budget
from mptq_export.allocate.catalogue import collect_catalogue
from mptq_export.allocate.costs import Costs
from mptq_export.allocate.evaluator import Evaluator
from mptq_export.allocate.greedy import Step, greedy
from mptq_export.allocate.journal import Journal
from mptq_export.allocate.sensitivity import sensitivity_table
from mptq_export.allocate.solver import solve
from mptq_export.allocate.units import Unit, Widths, layers, pinned_widths, units
from mptq_export.calibrate.statistics import Statistics
from mptq_export.capture.graph import Graph
from mptq_export.errors import MptqError
from mptq_export.quantize.build import build_recipe
from mptq_export.quantize.importance import row_importance
from mptq_export.quantize.method import Method
from mptq_export.recipe.schema import Recipe

#: Calibration images on which the divergence is measured.
IMAGES = 64


@dataclass(frozen=True)
class MixedSettings:
    """How to search.

    Attributes:
        budgets: one result each.
        bits: widths that are tried, rising.
        tied: weights and activations of a layer move together.
        pins: (weights, activations) by pattern of layer names.
    """

    budgets: tuple[Budget, ...]
    bits: range
    tied: bool
    pins: dict[str, tuple[int, int]]


@dataclass(frozen=True)
class Found:
    """What the search found for one budget.

    Attributes:
        budget: the budget.
        widths: widths of all layers.
        divergence: mean KL divergence on the search images, with the catalogue's quantizers.
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
        graph: the prepared graph with the transforms that all widths share.
        recipe: the recipe that gave them.
        found: one result a budget, in the order of the budgets.
        front: every accepted step: mean bits, bytes of weight codes, divergence.
        evaluations: candidates that were measured.
        method: how layers are quantized once the transforms stand.
        table: estimated divergence of every unit and width.
        units: what moved.
    """

    graph: Graph
    recipe: Recipe
    found: list[Found]
    front: list[dict[str, Any]]
    evaluations: int
    method: Method
    table: dict[tuple[str, int], float]
    units: list[Unit]

    def bits_text(self, found: Found) -> str:
        """The widths of one result in a few words."""
        weights, activations = Costs.of(self.graph).mean_bits(found.widths)
        return f"mixed {found.budget.text}: mean {weights:.2f}/{activations:.2f}"

    def estimates(self, found: Found) -> dict[str, float]:
        """What the width of every unit costs by itself, in KL divergence of the logits."""
        return {unit.key: self.table[unit.key, unit.bits(found.widths)] for unit in self.units}

    def final(
        self, found: Found, stats: Statistics, images: torch.Tensor, model: dict[str, Any], settings: dict[str, Any]
    ) -> tuple[Graph, Recipe]:
        """The recipe of one result: every layer quantized anew, each seeing what those before it really give."""
        graph, recipe = build_recipe(
            self.graph, stats, images, lambda layer: found.widths[layer], self.method, model, settings
        )
        return graph, replace(recipe, smoothing=self.recipe.smoothing)


def search(
    graph: Graph,
    stats: Statistics,
    images: torch.Tensor,
    method: Method,
    settings: MixedSettings,
    journal: Path,
    *,
    resume: bool,
    tick: Callable[[Step, float, float], None] | None = None,
) -> Search:
    """Find widths for every budget.

    Args:
        graph: prepared canonical graph, on the device that computes.
        stats: calibration statistics.
        images: float32 calibration inputs.
        method: which techniques are used.
        settings: what to search.
        journal: file that keeps every measurement.
        resume: go on from the journal, if it is of this search.
        tick: called after every accepted step with the mean widths of weights and activations.

    Raises:
        MptqError: a budget is below what the range allows, a pin matches no layer, or the journal is of another search.
    """
    fixed = pinned_widths(graph, settings.pins)
    moving = units(graph, tied=settings.tied, pinned=fixed)
    high, low = settings.bits[-1], settings.bits[0]
    start = {node.name: (high, high) for node in layers(graph)} | fixed
    middle = (low + high) // 2
    shared, recipe = build_recipe(graph, stats, images, lambda _: (middle, middle), method, {}, {})
    costs = Costs.of(shared, recipe if any(b.file_bytes is not None for b in settings.budgets) else None)
    _check_possible(settings, costs, start, moving)
    alone = replace(method, smoothing="off", balance=False)
    importance = row_importance(shared, torch.split(images, 8)) if alone.importance else {}
    catalogue, activations = collect_catalogue(shared, stats, images, alone, importance, settings.bits, fixed)
    chosen = images[:: max(1, len(images) // IMAGES)][:IMAGES]
    table = sensitivity_table(shared, catalogue, activations, chosen, moving, start, settings.bits)
    evaluator = Evaluator(shared, catalogue, activations, chosen)
    front: list[dict[str, Any]] = []
    found: dict[int, Found] = {}
    order = sorted(range(len(settings.budgets)), key=lambda i: -settings.budgets[i].size)
    with Journal.open(journal, _identity(settings, method, images, recipe), resume=resume) as kept:

        def measure(widths: Widths) -> float:
            return kept.value(widths, lambda: evaluator.divergence(widths))

        widths, divergence = start, measure(start)
        limits = [costs.limit(settings.budgets[i], low) for i in order]
        for step in greedy(moving, table, measure, start, low, limits):
            if step is None:
                index = order[len(found)]
                budget = settings.budgets[index]
                programme = solve(moving, table, start, settings.bits, costs.rows(budget, moving, start))
                summed = measure(programme) if costs.limit(budget, low).met(programme) else math.inf
                found[index] = _better(budget, (widths, divergence), (programme, summed))
                continue
            widths, divergence = step.widths, step.divergence
            weights, acts = costs.mean_bits(widths)
            point = {"unit": step.unit, "bits": step.bits, "mean_weight_bits": weights, "mean_activation_bits": acts}
            front.append({**point, "weight_bytes": costs.weight_bytes(widths), "divergence": divergence})
            if tick:
                tick(step, weights, acts)
    results = [found[i] for i in range(len(settings.budgets))]
    return Search(shared, recipe, results, front, kept.count, alone, table, moving)


def _check_possible(settings: MixedSettings, costs: Costs, start: Widths, moving: list[Unit]) -> None:
    for budget in settings.budgets:
        bottom = costs.lowest(budget, start, moving, settings.bits)
        if not costs.limit(budget, settings.bits[0]).met(bottom):
            raise MptqError(
                f"--mixed {budget.text} cannot be met: at the lowest widths of {settings.bits[0]}-{settings.bits[-1]} "
                f"(pins stand) it has {costs.describe(bottom)}; raise the budget, or lower --mixed-range"
            )


def _better(budget: Budget, stepped: tuple[Widths, float], programme: tuple[Widths, float]) -> Found:
    """Greedy's result, or that of the integer programme, whichever diverges less."""
    compared = {"greedy": stepped[1], "integer programme": programme[1]}
    if programme[1] < stepped[1]:
        return Found(budget, *programme, "integer programme", compared)
    return Found(budget, *stepped, "greedy", compared)


def _identity(settings: MixedSettings, method: Method, images: torch.Tensor, recipe: Recipe) -> str:
    """What a journal belongs to: the search, the images and the weights."""
    digest = hashlib.sha256()
    content = {"budgets": [b.text for b in settings.budgets], "bits": list(settings.bits), "tied": settings.tied}
    digest.update(json.dumps({**content, "pins": settings.pins, **asdict(method)}, sort_keys=True).encode())
    digest.update(images.cpu().numpy().tobytes())
    for name, quant in recipe.weights.items():
        digest.update(name.encode() + quant.codes.tobytes())
    return digest.hexdigest()

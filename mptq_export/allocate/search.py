"""Greedy MP from a calibrated model: transforms, quantizers of every width, the search, and one recipe a budget."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mptq_export.allocate.budget import Budget
from mptq_export.allocate.catalogue import collect_catalogue
from mptq_export.allocate.evaluator import Evaluator
from mptq_export.allocate.greedy import Limit, Step, greedy
from mptq_export.allocate.journal import Journal
from mptq_export.allocate.sensitivity import sensitivity_table
from mptq_export.allocate.solver import solve
from mptq_export.allocate.units import Unit, Widths, layers, mean_bits, multiplications, pinned_widths, units
from mptq_export.calibrate.statistics import Statistics
from mptq_export.capture.graph import Graph
from mptq_export.errors import MptqError
from mptq_export.quantize.build import build_recipe
from mptq_export.quantize.importance import row_importance
from mptq_export.quantize.method import Method
from mptq_export.recipe.schema import Recipe

#: Calibration images on which the divergence is measured.
IMAGES = 64

#: How much larger than measured on one file the part that is not weight codes may be on another.
_SLACK = 0.05


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
        weights, activations = mean_bits(self.graph, found.widths)
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
    order = sorted(range(len(settings.budgets)), key=lambda i: -_size(settings.budgets[i]))
    bottom = dict.fromkeys(start, (low, low)) | fixed
    middle = (low + high) // 2
    shared, recipe = build_recipe(graph, stats, images, lambda _: (middle, middle), method, {}, {})
    sized = any(budget.file_bytes is not None for budget in settings.budgets)
    other = _other_bytes(shared, recipe) if sized else 0.0
    limits = [_limit(graph, budget, other) for budget in settings.budgets]
    for budget, limit in zip(settings.budgets, limits, strict=True):
        if not limit.met(bottom):
            raise MptqError(
                f"--mixed {budget.text} cannot be met: with all layers at {low} bits (pins stand) the export "
                f"has {_describe(graph, bottom, other)}; raise the budget, or lower --mixed-range"
            )
    alone = replace(method, smoothing="off", balance=False)
    importance = row_importance(shared, torch.split(images, 8)) if alone.importance else {}
    catalogue, activations = collect_catalogue(shared, stats, images, alone, importance, settings.bits)
    chosen = images[:: max(1, len(images) // IMAGES)][:IMAGES]
    table = sensitivity_table(shared, catalogue, activations, chosen, moving, start, settings.bits)
    evaluator = Evaluator(shared, catalogue, activations, chosen)
    identity = _identity(settings, method, images, recipe)
    with Journal.open(journal, identity, resume=resume) as kept:

        def measure(widths: Widths) -> float:
            return kept.value(widths, lambda: evaluator.divergence(widths))

        front: list[dict[str, Any]] = []
        found: dict[int, Found] = {}
        position = 0
        widths, divergence = start, measure(start)
        for step in greedy(moving, table, measure, start, low, [limits[i] for i in order]):
            if step is None:
                index = order[position]
                found[index] = _better(
                    shared, moving, table, start, settings, settings.budgets[index], other, widths, divergence, measure
                )
                position += 1
                continue
            widths, divergence = step.widths, step.divergence
            weights, acts = mean_bits(graph, widths)
            front.append(
                {
                    "unit": step.unit,
                    "bits": step.bits,
                    "mean_weight_bits": weights,
                    "mean_activation_bits": acts,
                    "weight_bytes": code_bytes(graph, widths),
                    "divergence": divergence,
                }
            )
            if tick:
                tick(step, weights, acts)
    results = [found[i] for i in range(len(settings.budgets))]
    return Search(shared, recipe, results, front, kept.count, alone, table, moving)


def code_bytes(graph: Graph, widths: Widths) -> float:
    """Bytes of all weight codes at their own widths."""
    return sum(n.params["weight"].numel() * widths[n.name][0] / 8 for n in layers(graph) if "weight" in n.params)


def _other_bytes(graph: Graph, recipe: Recipe) -> float:
    """Bytes of a file that are not weight codes, measured on the file of one recipe, and a little for its nodes."""
    from mptq_export.emit.emitter import emit

    model = emit(graph.to("cpu"), replace(recipe), input_type="float32", metadata={}, producer="")
    codes = sum(quant.codes.size * quant.bits / 8 for quant in recipe.weights.values())
    return float(model.ByteSize() - codes) * (1 + _SLACK)


def _limit(graph: Graph, budget: Budget, other: float) -> Limit:
    parameters = sum(node.params["weight"].numel() for node in layers(graph) if "weight" in node.params)
    macs = sum(multiplications(graph, node) for node in layers(graph) if node.op != "patch_embed")
    if budget.file_bytes is not None:
        most = budget.file_bytes
        return Limit(
            lambda unit, _widths: unit.parameters / parameters, lambda widths: code_bytes(graph, widths) + other <= most
        )
    mean = budget.mean_bits or 0.0

    def gain(unit: Unit, widths: Widths) -> float:
        weights, activations = mean_bits(graph, widths)
        share = unit.parameters / parameters if weights > mean else 0.0
        return share + (unit.macs / macs if activations > mean else 0.0)

    return Limit(gain, lambda widths: max(mean_bits(graph, widths)) <= mean + 1e-9)


def _size(budget: Budget) -> float:
    return budget.mean_bits or (budget.file_bytes or 0.0)


def _describe(graph: Graph, widths: Widths, other: float) -> str:
    weights, activations = mean_bits(graph, widths)
    size = f" and about {(code_bytes(graph, widths) + other) / 1e6:.2f} MB" if other else ""
    return f"mean widths {weights:.2f}/{activations:.2f}{size}"


def _better(
    graph: Graph,
    moving: list[Unit],
    table: dict[tuple[str, int], float],
    start: Widths,
    settings: MixedSettings,
    budget: Budget,
    other: float,
    widths: Widths,
    divergence: float,
    measure: Callable[[Widths], float],
) -> Found:
    """Greedy's result, or that of the integer programme, whichever diverges less."""
    rows: list[tuple[list[float], float]] = []
    moved = {unit.layer for unit in moving}
    nodes = layers(graph)
    weighted = [n for n in nodes if "weight" in n.params]
    still_w = sum(start[n.name][0] * n.params["weight"].numel() for n in weighted if n.name not in moved)
    if budget.file_bytes is not None:
        rows.append(([float(u.parameters) for u in moving], (budget.file_bytes - other) * 8 - still_w))
    else:
        mean = budget.mean_bits or 0.0
        parameters = sum(n.params["weight"].numel() for n in weighted)
        read = [n for n in nodes if n.op != "patch_embed"]
        macs = sum(multiplications(graph, n) for n in read)
        still_a = sum(start[n.name][1] * multiplications(graph, n) for n in read if n.name not in moved)
        rows.append(([float(u.parameters) for u in moving], mean * parameters - still_w))
        rows.append(([float(u.macs) for u in moving], mean * macs - still_a))
    programme = solve(moving, table, start, settings.bits, rows)
    summed = measure(programme) if _limit(graph, budget, other).met(programme) else float("inf")
    compared = {"greedy": divergence, "integer programme": summed}
    if summed < divergence:
        return Found(budget, programme, summed, "integer programme", compared)
    return Found(budget, widths, divergence, "greedy", compared)


def _identity(settings: MixedSettings, method: Method, images: torch.Tensor, recipe: Recipe) -> str:
    """What a journal belongs to: the search, the images and the weights."""
    digest = hashlib.sha256()
    content = {"budgets": [b.text for b in settings.budgets], "bits": list(settings.bits), "tied": settings.tied}
    digest.update(json.dumps({**content, "pins": settings.pins, **asdict(method)}, sort_keys=True).encode())
    digest.update(images.cpu().numpy().tobytes())
    for name, quant in recipe.weights.items():
        digest.update(name.encode() + quant.codes.tobytes())
    return digest.hexdigest()

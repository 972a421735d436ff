"""What a search moves in: shared transforms, units, quantizers of every width, estimates, and the true metric."""

from dataclasses import dataclass, replace
from functools import cached_property

import torch

from mptq_export.allocate.budget import Budget, check_budgets
from mptq_export.allocate.catalogue import Catalogue, collect_catalogue
from mptq_export.allocate.costs import Costs
from mptq_export.allocate.evaluator import Evaluator
from mptq_export.allocate.latency import Latency, measure_latency
from mptq_export.allocate.sensitivity import Table, sensitivity_table
from mptq_export.allocate.shared_transforms import choose_transforms
from mptq_export.allocate.units import Widths, layers, pinned_widths, units
from mptq_export.calibrate.statistics import Statistics
from mptq_export.capture.graph import Graph
from mptq_export.quantize.method import Method
from mptq_export.quantize.walk.walk import build_recipe, measured_importance
from mptq_export.recipe.schema import ActivationQuant, Recipe
from mptq_export.support.errors import MptqError

#: At most so many calibration images measure the divergence; the others choose the quantizers of every width.
IMAGES = 64


@dataclass(frozen=True)
class MixedSettings:
    """How to search.

    Attributes:
        budgets: one result each.
        bits: widths that are tried, rising.
        tied: weights and activations of a layer move together.
        pins: (weights, activations) by shell pattern of layer names; later patterns win.
    """

    budgets: tuple[Budget, ...]
    bits: range
    tied: bool
    pins: dict[str, tuple[int, int]]

    def check(self) -> None:
        """Refuse budgets that do not go together, or that no width of the range meets.

        Raises:
            MptqError: there is none, one is named twice, they are of several kinds, or one is outside the range.
        """
        check_budgets(self.budgets, self.bits, self.pins)

    def check_graph(self, graph: Graph) -> None:
        """Refuse what a look at the layers shows, before they are measured.

        Args:
            graph: prepared canonical graph.

        Raises:
            MptqError: a pin matches no layer, or the codes alone are over a budget at the cheapest widths.
        """
        costs = Costs.of(graph)
        pinned = pinned_widths(graph, self.pins)
        widths = {node.name: (self.bits[0], self.bits[0]) for node in layers(graph)} | pinned
        codes = sum(count * widths[name][0] for name, count in costs.parameters.items()) / 8
        for budget in self.budgets:
            least = {"bits": max(costs.mean_bits(widths)), "bytes": codes}.get(budget.kind, 0.0)
            if least > budget.most * (1 + 1e-9):
                has = "{:.2f}/{:.2f}".format(*costs.mean_bits(widths))
                raise MptqError(
                    f"--mixed {budget.text} cannot be met: at the cheapest widths of {self.bits[0]}-{self.bits[-1]} "
                    f"(pins stand) it has mean widths {has}, and {codes / 1e6:.2f} MB of codes alone; raise the "
                    "budget, or lower --mixed-range"
                )


class Space:
    """One model's search space; what costs time is computed when it is first asked for.

    Attributes:
        settings: what is searched.
        stats: calibration statistics.
        images: float32 calibration inputs.
        asked: which techniques the export uses.
        graph: the prepared graph with the transforms that all widths share.
        recipe: the recipe that gave them, at the middle of the range; its weights have 8 bits.
        method: how layers are quantized once the transforms stand.
        bits: widths that are tried, rising.
        units: what moves.
        start: the widest widths; pins stand.
        costs: what widths cost in bits and bytes.
    """

    def __init__(
        self, graph: Graph, stats: Statistics, images: torch.Tensor, method: Method, settings: MixedSettings
    ) -> None:
        """Choose the transforms.

        Args:
            graph: prepared canonical graph, on the device that computes.
            stats: calibration statistics.
            images: float32 calibration inputs.
            method: which techniques are used.
            settings: what to search.

        Raises:
            MptqError: a pin matches no layer, or a table cannot be certified.
        """
        self._untransformed, self._fixed = graph, pinned_widths(graph, settings.pins)
        self.settings, self.stats, self.images, self.asked = settings, stats, images, method
        self.bits = settings.bits
        self.units = units(graph, tied=settings.tied, pinned=self._fixed)
        self.start = self._uniform(graph, self.bits[-1])
        middle = (self.bits[0] + self.bits[-1]) // 2
        self._importance = measured_importance(graph, images, method)
        self.graph, self.recipe = choose_transforms(graph, stats, images, middle, method, self._importance)
        self.method = replace(method, smoothing="off", balance=False)
        self.costs = Costs.of(self.graph, self.recipe)

    def _uniform(self, graph: Graph, bits: int) -> Widths:
        return {node.name: (bits, bits) for node in layers(graph)} | self._fixed

    @cached_property
    def _quantizers(self) -> tuple[Catalogue, dict[str, ActivationQuant]]:
        """All widths of every layer, and the quantizers that do not depend on a width."""
        count = len(self.images)
        fitted = [index for index in range(count) if index not in self._held] or list(range(count))
        rows = {name: each.reshape(count, -1)[fitted].reshape(-1) for name, each in self._importance.items()}
        images = self.images[fitted]
        return collect_catalogue(self.graph, self.stats, images, self.method, rows, self.bits, self._fixed)

    @property
    def _held(self) -> range:
        """Which images the true metric is measured on: the catalogue's weights are not fitted to them."""
        count = len(self.images)
        return range(0, count, max(2, count // IMAGES))[:IMAGES]

    @cached_property
    def measured(self) -> torch.Tensor:
        """The images of the true metric."""
        return self.images[list(self._held)]

    def final(self, widths: Widths) -> tuple[Graph, Recipe]:
        """The recipe of chosen widths: everything chosen anew for them, the transforms too."""
        return build_recipe(
            self._untransformed,
            self.stats,
            self.images,
            widths.__getitem__,
            self.asked,
            importance=self._importance,
        )

    @cached_property
    def table(self) -> Table:
        """Estimated divergence of every unit and width."""
        return self.table_on(self.measured)

    def table_on(self, images: torch.Tensor) -> Table:
        """The same on float32 inputs of one's own."""
        return sensitivity_table(self.graph, *self._quantizers, images, self.units, self.start, self.bits)

    @cached_property
    def evaluator(self) -> Evaluator:
        """The true metric."""
        return self.evaluator_on(self.measured)

    def evaluator_on(self, images: torch.Tensor) -> Evaluator:
        """The true metric on float32 inputs of one's own."""
        return Evaluator(self.graph, *self._quantizers, images)

    def latency(self) -> Latency:
        """What the widths cost in time, here and now."""
        catalogue, activations = self._quantizers

        def recipe(bits: int) -> Recipe:
            widths = {layer: self._fixed.get(layer, (self.bits[-1], bits)) for layer in self.start}
            chosen = {
                key: catalogue.activations[key, widths[layer][1]]
                for key, layer in catalogue.decides.items()
                if self.graph[key.rpartition(".")[0]].op != "softmax"  # attention is certified with the widest's scores
            }
            weights = {name: catalogue.weights[name, widths[name][0]] for name in self.recipe.weights}
            return replace(self.recipe, activations=activations | chosen, weights=weights)

        return measure_latency(self.graph, recipe, self.bits)

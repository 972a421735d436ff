"""The allocation problem of one model: variables, quantizers of every width, estimated and true objective, costs."""

from dataclasses import replace
from functools import cached_property

import torch

from mptq_export.allocate.catalogue import Catalogue, collect_catalogue
from mptq_export.allocate.costs import Costs
from mptq_export.allocate.evaluator import Evaluator
from mptq_export.allocate.image_split import ImageSplit
from mptq_export.allocate.latency import LatencyTable, measure_latency_table
from mptq_export.allocate.request import SearchRequest
from mptq_export.allocate.search_space import SearchSpace
from mptq_export.allocate.sensitivity import SensitivityTable, sensitivity_table
from mptq_export.allocate.shared_transforms import choose_transforms
from mptq_export.allocate.units import Widths
from mptq_export.capture.graph import Graph
from mptq_export.capture.ops import Softmax
from mptq_export.quantize.build_recipe import build_recipe
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.method import Method
from mptq_export.recipe.schema import Recipe


class AllocationProblem:
    """What a search solves; what costs time is computed when it is first asked for.

    Attributes:
        settings: what is searched.
        method: which techniques the export uses.
        space: what moves, between which widths, and from where.
        calibrated: the prepared graph as it was given, with all calibration images.
        transformed: the same with the transforms that all widths share.
        recipe: the recipe that gave them, at the middle of the range; its weights have 8 bits.
        costs: what widths cost in bits and bytes.
    """

    def __init__(self, calibrated: CalibratedGraph, method: Method, settings: SearchRequest) -> None:
        """Choose the transforms.

        Args:
            calibrated: the prepared graph, with all calibration images.
            method: which techniques are used.
            settings: what to search.

        Raises:
            MptqError: a pin matches no layer, or a table cannot be certified.
        """
        self.settings, self.method = settings, method
        self.space = SearchSpace.of(calibrated.graph, settings.widths, tied=settings.tied, pins=settings.pins)
        self.calibrated = calibrated.with_importance(method)
        middle = (settings.widths[0] + settings.widths[-1]) // 2
        graph, self.recipe = choose_transforms(self.calibrated, middle, method)
        self.transformed = replace(self.calibrated, graph=graph)
        self.costs = Costs.of(graph, self.recipe)
        self._split = ImageSplit.of(len(calibrated.images))

    @cached_property
    def catalogue(self) -> Catalogue:
        """Quantizers of every width, chosen from the images that do not measure."""
        method = replace(self.method, sq_b="off", balanced_attention=False)  # the transforms stand
        return collect_catalogue(self.transformed.of_images(self._split.fitting), method, self.space)

    @cached_property
    def measuring_images(self) -> torch.Tensor:
        """The images that the true objective is measured on."""
        return self.calibrated.images[self._split.measuring]

    @cached_property
    def table(self) -> SensitivityTable:
        """Estimated divergence of every unit and width."""
        return self.table_on(self.measuring_images)

    def table_on(self, images: torch.Tensor) -> SensitivityTable:
        """The same on float32 inputs of one's own."""
        return sensitivity_table(self.transformed.graph, self.catalogue, images, self.space)

    @cached_property
    def evaluator(self) -> Evaluator:
        """The true objective."""
        return self.evaluator_on(self.measuring_images)

    def evaluator_on(self, images: torch.Tensor) -> Evaluator:
        """The true objective on float32 inputs of one's own."""
        return Evaluator(self.transformed.graph, self.catalogue, images)

    def build_final_recipe(self, widths: Widths) -> tuple[Graph, Recipe]:
        """The recipe of chosen widths: everything chosen anew for them, the transforms too."""
        return build_recipe(self.calibrated, widths.__getitem__, self.method)

    def measure_latency(self) -> LatencyTable:
        """What the widths cost in time, here and now."""
        graph, catalogue, space = self.transformed.graph, self.catalogue, self.space

        def recipe(bits: int) -> Recipe:
            widths = {layer: space.pinned.get(layer, (space.bits[-1], bits)) for layer in space.start}
            chosen = {
                key: catalogue.activations[key, widths[layer][1]]
                for key, layer in catalogue.decides.items()
                # attention is certified with the widest's scores
                if not isinstance(graph[key.rpartition(".")[0]].op, Softmax)
            }
            weights = {name: catalogue.weights[name, widths[name][0]] for name in self.recipe.weights}
            return replace(self.recipe, activations=catalogue.widest | chosen, weights=weights)

        return measure_latency_table(graph, recipe, space.bits)

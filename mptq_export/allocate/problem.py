"""The allocation problem of one model: variables, quantizers of every width, estimated and true objective, costs."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cached_property
from statistics import fmean

import torch

from mptq_export.allocate.costs import Costs
from mptq_export.allocate.evaluator import Distance, Evaluator
from mptq_export.allocate.exact_form import EXACT_SEARCH, with_regions
from mptq_export.allocate.expected import CATALOGUE, TABLE, TIMING, TRANSFORMS, SearchWork
from mptq_export.allocate.feasible import check_metric
from mptq_export.allocate.form import Catalogue, SearchForm
from mptq_export.allocate.image_split import ImageSplit
from mptq_export.allocate.latency import LatencyTable
from mptq_export.allocate.own_loss import OwnLoss
from mptq_export.allocate.request import SearchRequest
from mptq_export.allocate.search_space import SearchSpace
from mptq_export.allocate.sensitivity import SensitivityTable, sensitivity_table
from mptq_export.allocate.shared_transforms import choose_transforms
from mptq_export.allocate.units import Widths
from mptq_export.capture.evaluate import evaluate
from mptq_export.capture.size import size_of
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.expected import importance_seconds, walk_seconds
from mptq_export.quantize.form import WidthsOf
from mptq_export.quantize.method import Method
from mptq_export.quantize.objective.divergence import divergence
from mptq_export.recipe.metric import metric_text
from mptq_export.support.errors import MptqError
from mptq_export.support.processes.group import Alone, Group
from mptq_export.support.progress import SILENT, Bar, Progress, shares, undivided

#: Images that a loss of the caller's own is tried on.
_TRIED_ON = 4

#: Numbers of outputs that are compared at once.
_MOST_NUMBERS = 2**24

#: Of the distances, below which no rise is measured.
_LEAST_RISE = 1e-9


class AllocationProblem:
    """What a search solves; what costs time is computed when it is first asked for.

    Attributes:
        settings: what is searched.
        method: which techniques the export uses.
        form: of the file.
        space: what moves, between which widths, and from where.
        calibrated: the prepared graph as it was given, with all calibration images.
        transformed: the same with the transforms that all widths share.
        recipe: the recipe that gave them, at the middle of the range; its weights have 8 bits.
        metric_sample: what a loss of the caller's own gives for a few images, by which another one is known; empty
            where there is none.
    """

    def __init__(
        self,
        calibrated: CalibratedGraph,
        method: Method,
        settings: SearchRequest,
        form: SearchForm = EXACT_SEARCH,
        *,
        group: Group | None = None,
        progress: Progress = SILENT,
    ) -> None:
        """Choose the transforms.

        Args:
            calibrated: the graph, prepared for the form, with all calibration images.
            method: which techniques are used.
            settings: what to search.
            form: of the file.
            group: processes that share the work while a search runs; None: this one alone.
            progress: hears how far it is, whenever something is computed that takes time.

        Raises:
            MptqError: the metric is none of such outputs, a pin matches no layer, a loss of the caller's own does not
                give numbers, or a table cannot be certified.
        """
        self.settings, self.method, self.form, self._group = settings, method, form, group or Alone()
        self._progress = progress
        check_metric(settings, calibrated.graph)
        self.metric_sample = self._try_own(calibrated)
        domain, fixed = settings.widths, form.fixed(calibrated.graph, settings.widths)
        self.space = SearchSpace.of(calibrated.graph, domain, tied=settings.tied, pins=settings.pins, fixed=fixed)
        middle, size, images = form.middle(domain), size_of(calibrated.graph), len(calibrated.images)
        with self._stage(TRANSFORMS) as bar:
            weighing = importance_seconds(size, images, method)
            first, rest = shares(bar, weighing, walk_seconds(size, images, method))
            self._group.hear(first)
            given = replace(calibrated, metric=settings.closed_form)
            self.calibrated = given.with_importance(method, self._group)
            self._choose_transforms(lambda _layer: middle, rest)
            graph = self.transformed.graph
            sizes, operations = form.sizes(graph, self.recipe, self.space), form.operations(graph, domain)
        self._plain_costs = Costs.of(graph, sizes=sizes, operations=operations)
        self._split = ImageSplit.of(len(calibrated.images))

    def _choose_transforms(self, widths: WidthsOf, bar: Bar) -> None:
        graph, self.recipe = choose_transforms(self.calibrated, widths, self.method, self.form.quantizing, bar)
        self.transformed = replace(self.calibrated, graph=graph)

    @contextmanager
    def _stage(self, label: str) -> Iterator[Bar]:
        """A stage that the calls of the group advance by 1 in all."""
        with self._progress.stage(label, 1) as bar:
            self._group.hear(bar)
            yield bar
            self._group.hear(SILENT)

    @property
    def work(self) -> tuple[SearchWork, ...]:
        """What decides how long it takes."""
        images = len(self.calibrated.images)
        return (SearchWork(size_of(self.calibrated.graph), images, self.method, self.settings, self.form.timed),)

    @property
    def costs_of_codes(self) -> Costs:
        """`costs` with what the codes of the catalogue really take."""
        assert self.costs.sizes is not None
        return replace(self.costs, sizes=self.form.sizes_of(self.costs.sizes, self.catalogue))

    @cached_property
    def costs(self) -> Costs:
        """What widths cost in bits and bytes; codes with regions take what those of the catalogue take."""
        plain = self._plain_costs
        if plain.sizes is None or not self.method.weight_regions:
            return plain
        return replace(plain, sizes=with_regions(plain.sizes, self.catalogue.weights))

    @cached_property
    def catalogue(self) -> Catalogue:
        """Quantizers of every width, chosen from the images that do not measure."""
        method = replace(self.method, sq_b="off", balanced_attention=False)  # the transforms stand
        with self._stage(CATALOGUE):
            return self.form.collect(self.transformed.of_images(self._split.fitting), method, self.space, self._group)

    @cached_property
    def measuring_images(self) -> torch.Tensor:
        """The images that the true objective is measured on."""
        return self.calibrated.images[self._split.measuring]

    @cached_property
    def table(self) -> SensitivityTable:
        """Estimated divergence of every unit and width."""
        catalogue = self.catalogue  # before the stage: it is one of its own
        with self._stage(TABLE):
            found = self._table_on(self.measuring_images, catalogue)
        return found if self.unit == 1 else {key: self.unit * value for key, value in found.items()}

    @cached_property
    def unit(self) -> float:
        """How far the true objective rises where the distances rise by 1 that it is estimated with.

        Raises:
            MptqError: a loss of the caller's own does not rise when all layers have the fewest bits.
        """
        if self._own is None:
            return 1.0
        usual = self._evaluator(self.measuring_images, self._by_kind)
        rises = []
        for evaluator in (self.evaluator, usual):
            wide, low = (fmean(evaluator.divergences(widths)) for widths in (self.space.start, self.space.narrowest))
            rises.append(low - wide)
        if not rises[0] > 0:
            raise MptqError(
                f"metric {metric_text(self.settings.metric)} does not rise when all layers go down to the narrowest of "
                f"{self.space.domain} bits ({rises[0]:.3g}); it must be a loss, larger where outputs are worse"
            )
        return rises[0] / max(rises[1], _LEAST_RISE)

    def table_on(self, images: torch.Tensor) -> SensitivityTable:
        """The same on float32 inputs of one's own."""
        return self._table_on(images, self.catalogue)

    def _table_on(self, images: torch.Tensor, catalogue: Catalogue) -> SensitivityTable:
        graph, metric = self.transformed.graph, self.settings.closed_form
        return sensitivity_table(graph, catalogue, images, self.space, metric, group=self._group)

    @cached_property
    def evaluator(self) -> Evaluator:
        """The true objective."""
        return self.evaluator_on(self.measuring_images)

    def evaluator_on(self, images: torch.Tensor) -> Evaluator:
        """The true objective on float32 inputs of one's own."""
        own = self._own
        return self._evaluator(images, self._by_kind if own is None else own.excess)

    def _evaluator(self, images: torch.Tensor, distance: Distance) -> Evaluator:
        return Evaluator(self.transformed.graph, self.catalogue, images, distance, self._group)

    def _by_kind(self, exact: torch.Tensor, found: torch.Tensor) -> list[float]:
        """The distances that have a second derivative."""
        graph, metric = self.transformed.graph, self.settings.closed_form
        at_once = max(1, _MOST_NUMBERS // exact.shape[1])  # dense outputs are millions of numbers an image
        pairs = zip(torch.split(exact, at_once), torch.split(found, at_once), strict=True)
        return [distance for a, b in pairs for distance in divergence(graph, a, b, metric).tolist()]

    def _try_own(self, calibrated: CalibratedGraph) -> tuple[float, ...]:
        """Refuse a loss that gives no numbers before anything else is computed."""
        metric = self.settings.metric
        self._own = None if metric is None or isinstance(metric, str) else OwnLoss(metric, calibrated.graph)
        if self._own is None:
            return ()
        with torch.no_grad():
            output = evaluate(calibrated.graph, calibrated.images[:_TRIED_ON].double())
        # Rounded, because sums in an order of their own must not make it another loss.
        return tuple(float(f"{number:.4g}") for number in self._own.tried(output))

    def divergences(self, widths: Widths) -> list[float]:
        """The true objective of every image, or one number for all."""
        return self.evaluator.divergences(widths)

    @property
    def identity(self) -> str:
        """What a journal belongs to: the search, the images and the weights; no budget."""
        settings, digest = self.settings, hashlib.sha256()
        content = {
            "metric": [metric_text(settings.metric), *self.metric_sample],
            "bits": [list(settings.widths.weights), list(settings.widths.activations)],
            "form": repr(self.form),
            "tied": settings.tied,
        }
        digest.update(json.dumps({**content, "pins": settings.pins, **asdict(self.method)}, sort_keys=True).encode())
        digest.update(repr(self.calibrated.graph.given).encode() + self.calibrated.images.cpu().numpy().tobytes())
        for name, quant in self.recipe.weights.items():
            digest.update(name.encode() + quant.codes.tobytes())
        return digest.hexdigest()

    def measure_latency(self) -> LatencyTable:
        """What the widths cost in time, here and now; only where the form of the file can be timed here."""
        catalogue = self.catalogue
        with undivided(self._progress, TIMING):
            return self.form.latency(self.transformed.graph, self.recipe, catalogue, self.space)

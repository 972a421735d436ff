"""What a search found for one model and one budget."""

from dataclasses import dataclass, replace

from mptq_export.allocate.expected import SearchWork
from mptq_export.allocate.form import SearchForm
from mptq_export.allocate.request import SearchRequest
from mptq_export.allocate.search import FoundWidths, FrontPoint, SearchResult
from mptq_export.calibrate.calibrated import Calibrated
from mptq_export.capture.graph import Graph
from mptq_export.capture.size import size_of
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.method import METHODS
from mptq_export.quantize.target_form import form_for, graph_for
from mptq_export.recipe.schema import Recipe
from mptq_export.recipe.settings import InputType, MethodName
from mptq_export.support.progress import SILENT, Bar


@dataclass(frozen=True)
class Aim:
    """What the searched file is for.

    Attributes:
        target: the runtime; None is `ort`.
        residual_bits: width of the residual in the portable form; None: the best that the target has.
        input_type: what the file takes, as far as it is known: in the portable form pixels have codes.
    """

    target: str | None = None
    residual_bits: int | None = None
    input_type: InputType | None = None


@dataclass(frozen=True)
class Allocation:
    """Widths of all layers that a search found for one budget.

    Attributes:
        calibrated: the model.
        settings: what was searched.
        method: how layers are quantized.
        search: the trade-off, shared by the allocations of all budgets.
        found: its result for this budget.
        target: the runtime that it was searched for; None is `ort`.
        residual_bits: width of the residual that was asked for.
        heads: of a detector of two stages the widths of its heads, under the same budget.
    """

    calibrated: Calibrated
    settings: SearchRequest
    method: MethodName
    search: SearchResult
    found: FoundWidths
    target: str | None = None
    residual_bits: int | None = None
    heads: "tuple[Allocation, ...]" = ()

    @property
    def budget(self) -> str:
        """The budget as it was written."""
        return self.found.budget.text

    @property
    def widths(self) -> dict[str, tuple[int, int]]:
        """(weights, activations) of every layer, in bits."""
        return dict(self.found.widths)

    @property
    def mean_bits(self) -> tuple[float, float]:
        """Mean width of weights, weighted by parameters, and of activations, weighted by multiply-accumulates."""
        return self.search.costs.mean_bits(self.found.widths)

    @property
    def divergence(self) -> float:
        """Mean of the metric on calibration images: for logits KL divergence from the float model's, in nats."""
        return self.found.divergence

    @property
    def front(self) -> tuple[FrontPoint, ...]:
        """Every accepted step of the search."""
        return self.search.front

    def on(self, calibrated: Calibrated) -> "Allocation":
        """The same widths for a model that was calibrated on other inputs: all quantizers are chosen on these.

        Args:
            calibrated: the same model.
        """
        graph = graph_of(calibrated, Aim(self.target, self.residual_bits))
        search = replace(self.search, problem=self.search.problem.recalibrated(graph))
        return replace(self, calibrated=calibrated, search=search)

    def build_final_recipe(self, input_type: InputType | None = None, bar: Bar = SILENT) -> tuple[Graph, Recipe]:
        """All quantizers at these widths, chosen anew, with their transforms.

        Args:
            input_type: what the file takes; None: float32.
            bar: advances by 1 in all.

        Returns:
            The graph with the transforms, on the device of the calibration, and the recipe without its proof.
        """
        problem = self.search.problem
        graph = graph_for(problem.form.quantizing, self.calibrated.graph, input_type)
        return problem.build_final_recipe(self.found.widths, graph, bar)


def search_work(calibrated: Calibrated, settings: SearchRequest, method: MethodName, form: SearchForm) -> SearchWork:
    """What decides how long a search of a calibrated model takes."""
    size, images = size_of(calibrated.graph), len(calibrated.images)
    return SearchWork(size, images, METHODS[method], settings, form.timed, form.rebased)


def graph_of(calibrated: Calibrated, aim: Aim) -> CalibratedGraph:
    """A calibrated model, prepared for the form of the file."""
    graph = graph_for(form_for(aim.target, aim.residual_bits), calibrated.graph, aim.input_type)
    return CalibratedGraph(graph, calibrated.stats, calibrated.images)

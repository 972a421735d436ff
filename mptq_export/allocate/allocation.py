"""What a search found for one model and one budget."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mptq_export.allocate.answer import FoundWidths
from mptq_export.allocate.descent import FrontPoint
from mptq_export.allocate.expected import SearchWork
from mptq_export.allocate.form import SearchForm
from mptq_export.allocate.request import SearchRequest
from mptq_export.allocate.stored_problem import StoredProblem
from mptq_export.calibrate.calibrated import Calibrated
from mptq_export.capture.graph import Graph
from mptq_export.capture.size import size_of
from mptq_export.quantize.build_recipe import build_recipe
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.method import METHODS
from mptq_export.quantize.target_form import form_for, graph_for
from mptq_export.recipe.schema import Recipe
from mptq_export.recipe.settings import InputType, MethodName
from mptq_export.support.progress import SILENT, Bar

if TYPE_CHECKING:
    from mptq_export.allocate.stored_search import Search


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
    """Widths of all layers that a search has for one budget.

    Attributes:
        calibrated: the model.
        settings: what was searched, and for what budgets.
        method: how layers are quantized.
        search: all that the search found out; it answers other budgets too.
        problem: of the layers of this model, what the search knows of their widths.
        found: its result for this budget.
        given: the prepared model that is quantized, with how much its rows count as far as that was measured.
        target: the runtime that it was searched for; None is `ort`.
        residual_bits: width of the residual that was asked for.
        heads: of a detector of two stages the widths of its heads, under the same budget.
    """

    calibrated: Calibrated
    settings: SearchRequest
    method: MethodName
    search: "Search"
    problem: StoredProblem
    found: FoundWidths
    given: CalibratedGraph
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
        return self.problem.costs.mean_bits(self.found.widths)

    @property
    def bits_text(self) -> str:
        """The widths in a few words."""
        found, (weights, activations) = self.found, self.mean_bits
        of_operations = found.budget.kind in ("operations", "operations share")
        more = f", {self.problem.costs.operations_text(found.widths)}" if of_operations else ""
        alike = "alike in all layers, " if found.solver == "uniform" else ""
        return f"mixed {found.budget.text}: {alike}mean {weights:.2f}/{activations:.2f}{more}"

    @property
    def estimates(self) -> dict[str, float]:
        """What the width of every unit is expected to cost by itself, in divergence of the outputs."""
        return {unit.key: self.problem.table[unit.key, unit.bits(self.widths)] for unit in self.problem.space.units}

    @property
    def divergence(self) -> float:
        """Mean of the metric that is expected on calibration images: for logits KL divergence in nats.

        Of several models under one budget it is that of all.
        """
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
        return replace(self, calibrated=calibrated, given=replace(graph, metric=self.given.metric))

    def build_final_recipe(self, input_type: InputType | None = None, bar: Bar = SILENT) -> tuple[Graph, Recipe]:
        """All quantizers at these widths, chosen anew, with their transforms.

        Args:
            input_type: what the file takes; None: float32.
            bar: advances by 1 in all.

        Returns:
            The graph with the transforms, on the device of the calibration, and the recipe without its proof.
        """
        form = form_for(self.target, self.residual_bits)
        given = self.given.of_graph(graph_for(form, self.calibrated.graph, input_type))
        return build_recipe(given, self.found.widths.__getitem__, METHODS[self.method], bar, form=form)


def graph_of(calibrated: Calibrated, aim: Aim) -> CalibratedGraph:
    """A calibrated model, prepared for the form of the file."""
    graph = graph_for(form_for(aim.target, aim.residual_bits), calibrated.graph, aim.input_type)
    return CalibratedGraph(graph, calibrated.stats, calibrated.images)


def work_of(calibrated: Calibrated, settings: SearchRequest, method: MethodName, form: SearchForm) -> SearchWork:
    """What decides how long a search of a calibrated model takes.

    Args:
        calibrated: the model.
        settings: what is searched.
        method: how layers are quantized.
        form: of the file.
    """
    return SearchWork(size_of(calibrated.graph), len(calibrated.images), METHODS[method], settings, form.timed)

"""The third stage, where widths are searched: a calibrated model and budgets -> widths of every layer."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mptq_export.allocate.budget import Budget
from mptq_export.allocate.forms import search_form
from mptq_export.allocate.greedy_mp import Step
from mptq_export.allocate.problem import AllocationProblem
from mptq_export.allocate.request import SearchRequest, check_journal, check_timed
from mptq_export.allocate.search import FoundWidths, FrontPoint, Problem, SearchResult, TradeOff, trade_off
from mptq_export.allocate.width_domain import width_domain
from mptq_export.calibrate.calibrated import Calibrated
from mptq_export.capture.graph import Graph
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.method import METHODS
from mptq_export.quantize.target_form import form_for, graph_for
from mptq_export.recipe.metric import Metric
from mptq_export.recipe.schema import WIDE, WIDTHS, Recipe
from mptq_export.recipe.settings import InputType, MethodName
from mptq_export.support.closed_sets import check_known
from mptq_export.support.errors import MptqError
from mptq_export.support.progress import SILENT, Bar, Progress
from mptq_export.targets.rules import check_target
from mptq_export.targets.table import portable_form

NO_SEARCH = (
    "widths of a detector of two stages cannot be searched, because its files have one result together; give --bits "
    "and --pin in place of --mixed"
)


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
    """

    calibrated: Calibrated
    settings: SearchRequest
    method: MethodName
    search: SearchResult
    found: FoundWidths
    target: str | None = None
    residual_bits: int | None = None

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

    def build_final_recipe(self, input_type: InputType | None = None) -> tuple[Graph, Recipe]:
        """All quantizers at these widths, chosen anew, with their transforms.

        Args:
            input_type: what the file takes; None: float32.

        Returns:
            The graph with the transforms, on the device of the calibration, and the recipe without its proof.
        """
        problem = self.search.problem
        graph = graph_for(problem.form.quantizing, self.calibrated.graph, input_type)
        return problem.build_final_recipe(self.found.widths, graph)


def allocate(
    calibrated: Calibrated,
    budgets: str | Sequence[str],
    *,
    widths: tuple[int, int] | None = None,
    tied: bool = False,
    pins: Mapping[str, tuple[int, int]] | None = None,
    method: MethodName = "best",
    metric: Metric | None = None,
    target: str | None = None,
    residual_bits: int | None = None,
    journal: str | Path | None = None,
    resume: bool = False,
    progress: Progress = SILENT,
) -> list[Allocation]:
    """Search a width for every layer under a budget: Greedy MP, and an integer programme beside it.

    Args:
        calibrated: what `calibrate` gave.
        budgets: one or several: mean widths (`4.5`, or `5/12` for weights and activations), file sizes (`12MB`),
            latencies of an image on this machine (`15ms`) or multiply-accumulate-bits (`20GBOPs`, or `75%` of those at
            8/8). Several of one kind share one search.
        widths: the narrowest and the widest that are tried; None: 3 to 8, or all that the target runs.
        tied: weights and activations of a layer move together, as in the paper.
        pins: (weights, activations) of layers that do not move, by shell pattern of their names.
        method: how layers are quantized: `best`, `paper` or `minmax`.
        metric: what the search keeps small: `kl` (divergence of the classes), `cosine` (1 - cosine), `mse` (squared
            error by the squares of the output), `detection` (classes and boxes of what a detector sees), or a loss of
            your own, `(exact, found)` to a number an image or one for all. It gets the float model's outputs and the
            quantized one's as float32 tensors, or as dictionaries of them by name where there are several; what it
            gives for `(exact, exact)` is subtracted. None: `kl` for logits, `cosine` for embeddings, `detection` for a
            detector, `mse` for all else.
        target: the runtime that the file is for, as for `export`.
        residual_bits: width of the residual, as for `export`.
        journal: file that keeps every measurement, so that an interrupted search can go on; None keeps none.
        resume: go on from the journal.
        progress: hears every accepted step.

    Returns:
        An allocation for every budget, in their order, for `export`.

    Raises:
        MptqError: the target does not run such widths, a budget cannot be read or met, a pin matches no layer, the
            metric is unknown or gives no finite numbers, or the journal is of another search.
    """
    texts = [budgets] if isinstance(budgets, str) else list(budgets)
    if widths is not None and not WIDTHS[0] <= widths[0] < widths[1] <= WIDE:
        raise MptqError(f"widths {widths} are not (LO, HI) with 2 <= LO < HI, for example (3, 8)")
    check_target(target or "ort", None, (pins or {}).values(), residual_bits)
    asked = None if widths is None else range(widths[0], widths[1] + 1)
    domain = width_domain(target, portable_form(target), asked)
    read = tuple(Budget.parse(text, both=domain.alike) for text in texts)
    settings = SearchRequest(read, domain, tied, dict(pins or {}), metric)
    check_timed(read, target)
    settings.check()
    check_known("method", method, METHODS)
    if journal is not None:
        check_journal(Path(journal), resume=resume, force=False)
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "search.jsonl" if journal is None else Path(journal)
        aim = Aim(target, residual_bits)
        return search_widths(calibrated, settings, method, kept, aim=aim, resume=resume, progress=progress)


def search_widths(
    calibrated: Calibrated,
    settings: SearchRequest,
    method: MethodName,
    journal: Path,
    *,
    aim: Aim,
    resume: bool = False,
    progress: Progress = SILENT,
) -> list[Allocation]:
    """`allocate` with settings and a method that were checked already."""
    if calibrated.heads:
        raise MptqError(NO_SEARCH)
    form = search_form(form_for(aim.target, aim.residual_bits))
    problem = AllocationProblem(graph_of(calibrated, aim), METHODS[method], settings, form)
    result = SearchResult.of(problem, solved(problem, journal, resume=resume, progress=progress))
    return [
        Allocation(calibrated, settings, method, result, found, aim.target, aim.residual_bits) for found in result.found
    ]


def graph_of(calibrated: Calibrated, aim: Aim) -> CalibratedGraph:
    """A calibrated model, prepared for the form of the file."""
    graph = graph_for(form_for(aim.target, aim.residual_bits), calibrated.graph, aim.input_type)
    return CalibratedGraph(graph, calibrated.stats, calibrated.images)


def solved(problem: Problem, journal: Path, *, resume: bool, progress: Progress) -> TradeOff:
    """`trade_off`, shown as a stage."""
    start, end = problem.costs.mean_bits(problem.space.start), problem.settings.lowest
    with progress.stage("searching", _distance(start, end)) as bar:
        return trade_off(problem, journal, resume=resume, tick=_advancing(bar, start, end))


def _advancing(bar: Bar, start: tuple[float, float], end: tuple[float, float]) -> Callable[[Step, float, float], None]:
    """What advances a bar by every accepted step: from the widest mean widths down to where the search may end."""
    count, left = 0, _distance(start, end)

    def advance(step: Step, weights: float, activations: float) -> None:
        nonlocal count, left
        count += len(step.lowered)
        before, left = left, min(left, _distance((weights, activations), end))
        text = f"step {count}  mean bits {weights:.2f}/{activations:.2f}  divergence {step.divergence:.4f}"
        bar.advance(before - left, text)

    return advance


def _distance(means: tuple[float, float], end: tuple[float, float]) -> float:
    """How far mean widths of (weights, activations) are above where a search may end."""
    return sum(max(0.0, mean - least) for mean, least in zip(means, end, strict=True))

"""Searches of problems that tests make: what is found, beside what it was found with."""

from dataclasses import dataclass
from pathlib import Path

from mptq_export.allocate.answer import FoundWidths
from mptq_export.allocate.descent import FrontPoint
from mptq_export.allocate.problem import AllocationProblem
from mptq_export.allocate.search import search
from mptq_export.allocate.search_terms import CalibrationTerms, Origin, SearchTerms
from mptq_export.allocate.stored_search import Search
from mptq_export.allocate.units import Widths
from mptq_export.capture.graph import Graph
from mptq_export.quantize.build_recipe import build_recipe
from mptq_export.recipe.metric import metric_text
from mptq_export.recipe.schema import Recipe
from mptq_export.support.progress import SILENT, Progress


@dataclass(frozen=True)
class Searched:
    """A problem that was searched, and what it has for its own budgets."""

    problem: AllocationProblem
    search: Search
    found: list[FoundWidths]

    @property
    def front(self) -> tuple[FrontPoint, ...]:
        return self.search.front

    def build_final_recipe(self, widths: Widths) -> tuple[Graph, Recipe]:
        problem = self.problem
        return build_recipe(problem.calibrated, widths.__getitem__, problem.method, form=problem.form.quantizing)


def terms_for(problem: AllocationProblem) -> SearchTerms:
    """Terms of what has no checkpoint."""
    asked = problem.settings
    return SearchTerms(
        Origin("model", "0", "inputs", "0", "0"),
        CalibrationTerms(None, True, 128, False, False, False, None),
        asked.widths.weights,
        asked.widths.activations,
        asked.tied,
        asked.pins,
        metric_text(asked.metric),
        "best",
        None,
        None,
        None,
    )


def searched(
    problem: AllocationProblem, journal: Path, *, resume: bool = False, progress: Progress = SILENT
) -> Searched:
    made = search(problem, terms_for(problem), journal, resume=resume, progress=progress)
    return Searched(problem, made, [made.answer(budget) for budget in problem.settings.budgets])

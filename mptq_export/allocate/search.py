"""Greedy MP from a calibrated model: one search, whatever the budgets, and widths for any of them afterwards."""

from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean

from mptq_export.allocate.answer import check_possible
from mptq_export.allocate.descent import FrontPoint, Point, descend
from mptq_export.allocate.expected import STEPS, steps
from mptq_export.allocate.journal import Journal
from mptq_export.allocate.rehearsal import Rehearsal
from mptq_export.allocate.search_terms import SEARCH_VERSION, SearchTerms
from mptq_export.allocate.searchable import Problem
from mptq_export.allocate.stored_problem import StoredProblem
from mptq_export.allocate.stored_search import Search
from mptq_export.allocate.units import Widths
from mptq_export.support.errors import MptqError
from mptq_export.support.progress import SILENT, Progress


def search(problem: Problem, terms: SearchTerms, journal: Path, *, resume: bool, progress: Progress = SILENT) -> Search:
    """Find out what any budget will be answered from.

    Args:
        problem: what to solve.
        terms: what it is of; they are stored with what is found.
        journal: file that keeps every measurement.
        resume: go on from the journal, if it is of this search.
        progress: hears every accepted step.

    Raises:
        MptqError: one of the budgets that were asked for is below what the range allows, or the journal is of another
            search.
    """
    budgets, costs, space = problem.settings.budgets, problem.costs, problem.space
    for budget in budgets:
        if budget.kind != "latency":  # refused before anything else is computed
            check_possible(costs, space, budget)
    with Journal.open(journal, problem.identity, resume=resume) as kept:
        costs = problem.costs_of_codes
        if problem.form.timed:
            costs = replace(costs, latency=kept.latency(problem.measure_latency))
        try:
            for budget in budgets:
                if budget.kind in ("latency", "bytes"):
                    check_possible(costs, space, budget)
        except MptqError:
            if not resume:
                journal.unlink()  # it holds nothing that another search could use
            raise
        stored = StoredProblem.of(space, costs, problem.table, problem.unit)
        kept.keep({"search_version": SEARCH_VERSION, "terms": asdict(terms), "problem": asdict(stored)})

        def measure(widths: Widths) -> list[float]:
            return kept.divergences(widths, lambda: problem.divergences(widths))

        with progress.stage(STEPS, 1) as bar:
            rehearsal, done = Rehearsal(stored, fmean(measure(space.start)), budgets), 0.0
            progress.expect([steps(problem.work, rehearsal.measured)])

            def tick(point: Point) -> None:
                nonlocal done
                if isinstance(point, FrontPoint):
                    weights, activations = point.mean_weight_bits, point.mean_activation_bits
                    text = f"mean bits {weights:.2f}/{activations:.2f}  divergence {point.divergence:.4f}"
                    before, done = done, max(done, rehearsal.share(point))
                    bar.advance(done - before, text)

            descend(stored, measure, tick, budgets)
            bar.advance(1 - done)
        # All that is known: a search that goes on for a wider budget keeps what it had.
        return Search.of(terms, stored, problem.identity, kept.measured)

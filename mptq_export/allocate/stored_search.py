"""A search that can be asked: a finished one, or what an interrupted one has measured."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mptq_export.allocate.allocation import Allocation
from mptq_export.allocate.answer import FoundWidths, answer
from mptq_export.allocate.budget import Budget
from mptq_export.allocate.descent import Descent, FrontPoint, NotMeasuredError, Rung, descend
from mptq_export.allocate.journal import widths_text, write_journal
from mptq_export.allocate.pick import picked
from mptq_export.allocate.search_terms import (
    JOURNAL_SUFFIX,
    SEARCH_VERSION,
    SearchTerms,
    from_stored,
    parse_picks,
    stored_json,
)
from mptq_export.allocate.stored_problem import StoredProblem
from mptq_export.allocate.units import Widths
from mptq_export.calibrate.calibrated import Calibrated
from mptq_export.support.json_files import write_json


@dataclass(frozen=True)
class SearchContents:
    """OUT.search.json.

    Attributes:
        search_version: of this layout.
        terms: what was searched, and how.
        problem: what moves, what it costs, and what that is expected to do.
        start: the divergence at the widest widths.
        steps: every accepted step.
        rungs: the budgets that every search measures.
        evaluations: different candidates that were measured.
        complete: whether it came to the narrowest widths.
        identity: of its journal.
        measured: every divergence, by the text of widths as journals have it, so that the search can go on.
    """

    search_version: int
    terms: SearchTerms
    problem: StoredProblem
    evaluations: int
    start: float
    complete: bool
    steps: tuple[FrontPoint, ...]
    rungs: tuple[Rung, ...]
    identity: str
    measured: dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class _Begun:
    """What a journal holds; see `SearchContents`."""

    terms: SearchTerms
    problem: StoredProblem
    identity: str
    measured: dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class Search:
    """All that a search has found out; no budget is part of it.

    Attributes:
        terms: what was searched, and how.
        problem: what moves, what it costs, and what that is expected to do.
        found: what came of the measurements.
        identity: of its journal.
        measured: every divergence of every image, by the text of widths as journals have it.
    """

    terms: SearchTerms
    problem: StoredProblem
    found: Descent
    identity: str
    measured: dict[str, tuple[float, ...]]

    @staticmethod
    def of(
        terms: SearchTerms, problem: StoredProblem, identity: str, measured: Mapping[str, Sequence[float]]
    ) -> "Search":
        """A search that has measured so much."""
        kept = {text: tuple(map(float, images)) for text, images in measured.items()}

        def known(widths: Widths) -> Sequence[float]:
            try:
                return kept[widths_text(widths)]
            except KeyError:
                raise NotMeasuredError from None

        return Search(terms, problem, descend(problem, known), identity, kept)

    @property
    def complete(self) -> bool:
        """Whether it came to the narrowest widths, so that every budget that some widths meet has an answer."""
        return self.found.complete

    @property
    def front(self) -> tuple[FrontPoint, ...]:
        """Every accepted step."""
        return tuple(self.found.steps)

    @property
    def rungs(self) -> tuple[Rung, ...]:
        """The budgets that every search measures: the points to choose from, with what they cost and lose."""
        return tuple(self.found.rungs)

    def table(self) -> list[dict[str, Any]]:
        """What every width of every unit costs and is expected to lose, a row each, as `pandas.DataFrame` takes them.

        Returns:
            Rows with `unit` (its key), `layer`, `side` (weights, activations or both), `width` in bits, `cost` (bits:
            parameters times the width, and multiply-accumulates of an image times the width, of which budgets of mean
            widths are sums), `bytes` (of its codes in a file; None where it has none), `milliseconds` (of an image;
            None where not measured), `estimate` (divergence of the outputs that the width alone is expected to cost).
        """
        rows = []
        for unit in self.problem.units:
            layer = self.problem.layers[unit.layer]
            for text, estimate in unit.estimates.items():
                calls = [self.problem.layers[name].milliseconds.get(text) for name in unit.unit.calls]
                times = [each for each in calls if each is not None and unit.side != "weights"]
                rows.append(
                    {
                        "unit": unit.unit.key,
                        "layer": unit.layer,
                        "side": unit.side,
                        "width": int(text),
                        "cost": (unit.parameters + unit.macs) * int(text),
                        "bytes": layer.file_bytes.get(text) if unit.side != "activations" else None,
                        "milliseconds": sum(times) if times else None,
                        "estimate": estimate,
                    }
                )
        return rows

    def answer(self, budget: Budget) -> FoundWidths:
        """The widths of a budget; nothing is measured.

        Raises:
            MptqError: no widths meet it, or the search was interrupted before it came so far.
        """
        return answer(self.problem, self.found, budget)

    def pick(self, budget: str, calibrated: Calibrated) -> Allocation:
        """The allocation of another budget, as a search for it gives it: nothing is searched or measured.

        Args:
            budget: as for `allocate`, of any kind.
            calibrated: the model that was searched, on the same inputs.

        Returns:
            What `export` takes.

        Raises:
            MptqError: the budget cannot be read or met, the search was interrupted before it came so far, or it is of
                another checkpoint, other calibration inputs or another version of this program.
        """
        return picked(self, parse_picks([budget], self.terms), calibrated)[0]

    def write(self, path: Path) -> None:
        """Write OUT.search.json.

        Raises:
            MptqError: it cannot be written.
        """
        found = self.found
        assert found.start is not None
        contents = SearchContents(
            search_version=SEARCH_VERSION,
            terms=self.terms,
            problem=self.problem,
            evaluations=found.evaluations,
            start=found.start,
            complete=found.complete,
            steps=tuple(found.steps),
            rungs=tuple(found.rungs),
            identity=self.identity,
            measured=self.measured,
        )
        write_json(path, contents)

    def write_journal(self, path: Path) -> None:
        """Write the journal of the search as if it had been interrupted, so that it can go on to narrower widths.

        Raises:
            MptqError: it cannot be written.
        """
        times = self.problem.costs.latency
        write_journal(path, self.identity, None if times is None else times.to_json(), stored_part(self), self.measured)


def stored_part(search: Search) -> dict[str, Any]:
    """What a journal says of the search that it is of."""
    return {"search_version": SEARCH_VERSION, "terms": asdict(search.terms), "problem": asdict(search.problem)}


def open_search(path: str | Path) -> Search:
    """Open a stored search.

    Args:
        path: OUT.search.json of a finished search, or OUT.search.jsonl of an interrupted one.

    Raises:
        MptqError: it is no such file, or damaged.
    """
    path = Path(path)
    values = stored_json(path)
    if path.suffix != JOURNAL_SUFFIX:
        made = from_stored(path, SearchContents, values)
        found = Descent(made.start, list(made.steps), list(made.rungs), made.evaluations, made.complete)
        return Search(made.terms, made.problem, found, made.identity, made.measured)
    begun = from_stored(path, _Begun, values)
    return Search.of(begun.terms, begun.problem, begun.identity, begun.measured)

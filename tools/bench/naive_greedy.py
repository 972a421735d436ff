"""The lazy search beside the paper's: every unit measured before every step.

    python -m tools.bench.naive_greedy MODEL --calib DIR [--keep 'blocks.0.*'] [--range 3-6] [--budget 4] [--json FILE]

Both start from one table and measure with one metric. Layers that no `--keep` pattern matches stay at the widest width
and count in no mean, so that the naive search ends before the day does.
"""

import fnmatch
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from mptq_export.allocate.budget import Budget
from mptq_export.allocate.constraint import Constraint, as_limit
from mptq_export.allocate.greedy_mp import Limit, Measure, greedy
from mptq_export.allocate.integer_programme import solve
from mptq_export.allocate.problem import AllocationProblem
from mptq_export.allocate.request import SearchRequest
from mptq_export.allocate.search_space import SearchSpace
from mptq_export.allocate.sensitivity import SensitivityTable
from mptq_export.allocate.units import Unit, Widths
from mptq_export.allocate.width_domain import WidthDomain
from mptq_export.api import calibrate, load
from mptq_export.cli.values import range_from
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.method import BEST
from tools.options import Parser, Repeated, existing, positive


class Counted:
    """A metric that remembers what it measured."""

    def __init__(self, measure: Measure) -> None:
        self.known: dict[str, Sequence[float]] = {}
        self._measure = measure

    def __call__(self, widths: Widths) -> Sequence[float]:
        """KL divergence of every image."""
        key = str(widths)
        if key not in self.known:
            self.known[key] = self._measure(widths)
        return self.known[key]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser("bench.naive_greedy", __doc__)
    parser.add_argument("model")
    parser.add_argument("--calib", type=existing, required=True)
    parser.add_argument("--count", type=positive, default=128, help="Calibration images.")
    parser.add_argument("--keep", action=Repeated, default=("*",), help="Layers that move, by shell pattern.")
    parser.add_argument(
        "--range", dest="bits", type=range_from, default=range(3, 7), metavar="LO-HI", help="Default: 3-6."
    )
    parser.add_argument("--budget", type=float, default=4.0, help="Mean width of what moves.")
    parser.add_json()
    return parser.run(run, arguments)


def run(
    *, model: str, calib: Path, count: int, keep: tuple[str, ...], bits: range, budget: float, json_path: Path | None
) -> None:
    calibrated = calibrate(load(model), calib, count=count)
    settings = SearchRequest((Budget.parse(str(budget)),), WidthDomain.of_range(bits), tied=False, pins={})
    graph = CalibratedGraph(calibrated.graph, calibrated.stats, calibrated.images)
    problem = AllocationProblem(graph, BEST, settings)
    moving = [unit for unit in problem.space.units if any(fnmatch.fnmatch(unit.layer, pattern) for pattern in keep)]
    space = replace(problem.space, units=moving)
    bounds = constraints(moving, bits, budget)
    limit = as_limit(bounds, space)
    unseen = problem.evaluator_on(calibrated.images[1::2])  # the search sees every second image
    rows: list[dict[str, Any]] = []
    for name in ("lazy", "naive"):
        measure = Counted(problem.evaluator.divergences)
        start = time.perf_counter()
        widths = lazy(space, problem.table, measure, bounds) if name == "lazy" else naive(space, measure, limit)
        seconds = time.perf_counter() - start
        rows.append(
            {
                "search": name,
                "divergence": fmean(measure(widths)),
                "unseen": fmean(unseen.divergences(widths)),
                "evaluations": len(measure.known),
                "seconds": seconds,
            }
        )
    columns = ("search", "KL on the search images", "on as many others", "evaluations", "seconds")
    table = Table(*columns, title=f"{len(moving)} units")
    for row in rows:
        figures = (f"{row[key]:.5f}" for key in ("divergence", "unseen"))
        table.add_row(str(row["search"]), *figures, str(row["evaluations"]), f"{row['seconds']:.0f}")
    Console().print(table)
    if json_path:
        json_path.write_text(
            json.dumps({"model": Path(model).name, "units": len(moving), "rows": rows}, indent=1) + "\n"
        )


def constraints(moving: list[Unit], bits: range, mean: float) -> list[Constraint]:
    """The mean width of what moves: of the weights by parameters, of the activations by multiply-accumulates."""
    weights = {unit.layer: unit.parameters for unit in moving if unit.parameters}
    read = {unit.layer: unit.macs for unit in moving if unit.macs}

    def prices(counts: dict[str, int]) -> dict[tuple[str, int], float]:
        return {(layer, b): float(count * b) for layer, count in counts.items() for b in bits}

    return [
        Constraint(prices(weights), {}, mean * sum(weights.values())),
        Constraint({}, prices(read), mean * sum(read.values())),
    ]


def lazy(space: SearchSpace, table: SensitivityTable, measure: Measure, bounds: list[Constraint]) -> Widths:
    """Ours: greedy in groups, or the integer programme where that is better."""
    widths = space.start
    for step in greedy(space, table, measure, [as_limit(bounds, space)]):
        widths = widths if step is None else step.widths
    programme = solve(space, table, bounds)
    return min(widths, programme, key=lambda found: fmean(measure(found)))


def naive(space: SearchSpace, measure: Measure, limit: Limit) -> Widths:
    """The paper's: of all next steps, the one that really costs least for what it gains."""
    widths = space.start
    for _step in track(range(len(space.units) * len(space.domain.weights)), "naive search", transient=True):
        if limit.met(widths):
            break
        divergence = fmean(measure(widths))
        choices: list[tuple[float, str, Widths]] = []
        for unit in space.units:
            below, gain = space.below(unit, widths), limit.gain(unit, widths)
            if below and gain > 0:
                lowered = unit.applied(widths, below[-1])
                choices.append(((fmean(measure(lowered)) - divergence) / gain, unit.key, lowered))
        widths = min(choices)[2]
    return widths


if __name__ == "__main__":
    sys.exit(main())

"""How much less than uniform widths any choice of widths can cost.

    python -m tools.bench.mixed_bound MODEL --calib DIR [--on DIR] [--range 3-8] [--mean 5 --mean 4.5 ...] [--json FILE]

For every mean width the integer programme gives the least sum of estimates that any widths within the budget have; it
stands beside the sum of the uniform widths that cost the same or more. Where the quotient is above a goal, no search
over these quantizers reaches it, as far as the estimates add up. How far they do is the last column: the divergences of
both, measured. The estimates are those of the search. With --on they are of the images of a folder, and measured there
too: the widths that are chosen then know the very images that judge them, as no search may.
"""

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import torch
from rich.console import Console
from rich.table import Table

from mptq_export.allocate.budget import Budget
from mptq_export.allocate.integer_programme import solve
from mptq_export.allocate.problem import AllocationProblem
from mptq_export.allocate.request import SearchRequest
from mptq_export.allocate.units import Unit, Widths
from mptq_export.allocate.width_domain import WidthDomain
from mptq_export.api import calibrate, load
from mptq_export.cli.values import range_from
from mptq_export.data.calibration import open_calibration
from mptq_export.quantize.calibrated_graph import CalibratedGraph
from mptq_export.quantize.method import BEST
from tools.options import Parser, Repeated, existing, positive


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser("bench.mixed_bound", __doc__)
    parser.add_argument("model")
    parser.add_argument("--calib", type=existing, required=True)
    parser.add_argument("--count", type=positive, default=128, help="Calibration images.")
    parser.add_argument("--on", type=existing, help="Estimate on these images.")
    parser.add_argument("--images", type=positive, default=400, help="At most so many of them.")
    parser.add_argument(
        "--range", dest="bits", type=range_from, default=range(3, 9), metavar="LO-HI", help="Default: 3-8."
    )
    parser.add_argument("--mean", dest="means", action=Repeated, type=float, default=(5, 4.5, 4, 3.5))
    parser.add_json()
    return parser.run(run, arguments)


def run(
    *,
    model: str,
    calib: Path,
    count: int,
    on: Path | None,
    images: int,
    bits: range,
    means: tuple[float, ...],
    json_path: Path | None,
) -> None:
    budgets = tuple(Budget.parse(f"{mean:g}") for mean in means)
    settings = SearchRequest(budgets, WidthDomain.of_range(bits), tied=False, pins={})
    settings.check()
    calibrated = calibrate(load(model), calib, count=count)
    graph = CalibratedGraph(calibrated.graph, calibrated.stats, calibrated.images)
    problem = AllocationProblem(graph, BEST, settings)
    space, judges = problem.space, problem.measuring_images
    if on is not None:
        source = open_calibration(on, calibrated.loaded.preprocessing, count=images)
        judges = torch.cat([torch.from_numpy(batch) for batch in source.batches(8)]).to(calibrated.images.device)
    estimates, evaluator = problem.table_on(judges), problem.evaluator_on(judges)

    def summed(moving: list[Unit], widths: Widths) -> float:
        return sum(estimates[unit.key, unit.bits(widths)] for unit in moving)

    rows = []
    uniforms: dict[int, float] = {}  # measured once a width
    for budget in budgets:
        constraints = problem.costs.constraints(budget)
        least = solve(space, estimates, constraints)
        above = math.ceil(budget.most)
        uniform = {layer: (above, above) for layer in space.start}
        row: dict[str, float] = {"mean": budget.most, "uniform": above}
        for part in ("weights", "activations", "all"):
            moving = [unit for unit in space.units if part in (unit.side, "all")]
            row[part] = summed(moving, least) / summed(moving, uniform)
        if above not in uniforms:
            uniforms[above] = fmean(evaluator.divergences(uniform))
        row["measured"] = fmean(evaluator.divergences(least)) / uniforms[above]
        rows.append(row)
    table = Table("mean", "uniform", "of weights", "of activations", "of all", "measured", title=Path(model).name)
    for row in rows:
        parts = (f"{row[part]:.2f}" for part in ("weights", "activations", "all", "measured"))
        table.add_row(f"{row['mean']:g}", f"{row['uniform']}/{row['uniform']}", *parts)
    Console().print(table)
    if json_path:
        report = {"model": Path(model).name, "images": len(judges), "rows": rows}
        json_path.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())

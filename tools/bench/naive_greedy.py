"""The lazy search beside the paper's: every unit measured before every step.

    python tools/bench/naive_greedy.py MODEL --calib DIR [--keep 'blocks.0.*'] [--range 3-6] [--budget 4] [--json FILE]

Both start from one table and measure with one metric. Layers that no `--keep` pattern matches stay at the widest width
and count in no mean, so that the naive search ends before the day does.
"""

import fnmatch
import json
import time
from pathlib import Path

import click
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mptq_export.allocate.budget import Budget
from mptq_export.allocate.constraint import Constraint, as_limit
from mptq_export.allocate.greedy import Limit, Measure, greedy
from mptq_export.allocate.space import MixedSettings, Space
from mptq_export.allocate.units import Unit, Widths
from mptq_export.cli.export import parse_range
from mptq_export.pipeline import ExportRequest, calibrate_model
from mptq_export.quantize.method import BEST


class Counted:
    """A metric that remembers what it measured."""

    def __init__(self, measure: Measure) -> None:
        self.known: dict[str, float] = {}
        self._measure = measure

    def __call__(self, widths: Widths) -> float:
        """Mean KL divergence."""
        key = str(widths)
        if key not in self.known:
            self.known[key] = self._measure(widths)
        return self.known[key]


@click.command(help=__doc__)
@click.argument("model")
@click.option("--calib", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--count", default=128, show_default=True, help="Calibration images.")
@click.option("--keep", multiple=True, default=("*",), help="Layers that move, by shell pattern.")
@click.option("--range", "bits", default="3-6", show_default=True, callback=parse_range)
@click.option("--budget", default=4.0, show_default=True, help="Mean width of what moves.")
@click.option("--json", "json_path", type=click.Path(path_type=Path))
def main(
    model: str, calib: Path, count: int, keep: tuple[str, ...], bits: range, budget: float, json_path: Path | None
) -> None:
    calibrated = calibrate_model(ExportRequest(model, Path("unused"), calib=calib, count=count))
    settings = MixedSettings((Budget.parse(str(budget)),), bits, tied=False, pins={})
    space = Space(calibrated.graph, calibrated.stats, calibrated.images, BEST, settings)
    moving = [unit for unit in space.units if any(fnmatch.fnmatch(unit.layer, pattern) for pattern in keep)]
    limit = as_limit(constraints(moving, bits, budget), bits[0])
    rows = []
    for name, search in (("lazy", lazy), ("naive", naive)):
        measure = Counted(space.evaluator.divergence)
        start = time.perf_counter()
        widths = search(space, moving, measure, limit)
        seconds = time.perf_counter() - start
        row = {"search": name, "divergence": measure(widths), "evaluations": len(measure.known), "seconds": seconds}
        rows.append(row)
    table = Table("search", "KL on the search images", "evaluations", "seconds", title=f"{len(moving)} units")
    for row in rows:
        table.add_row(str(row["search"]), f"{row['divergence']:.5f}", str(row["evaluations"]), f"{row['seconds']:.0f}")
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


def lazy(space: Space, moving: list[Unit], measure: Measure, limit: Limit) -> Widths:
    """Ours."""
    widths = space.start
    for step in greedy(moving, space.table, measure, space.start, space.bits[0], [limit]):
        widths = widths if step is None else step.widths
    return widths


def naive(space: Space, moving: list[Unit], measure: Measure, limit: Limit) -> Widths:
    """The paper's: of all next steps, the one that really costs least for what it gains."""
    widths = space.start
    for _ in track(range(len(moving) * len(space.bits)), "naive search", transient=True):
        if limit.met(widths):
            break
        divergence = measure(widths)
        choices: list[tuple[float, str, Widths]] = []
        for unit in moving:
            below, gain = unit.bits(widths) - 1, limit.gain(unit, widths)
            if below >= space.bits[0] and gain > 0:
                lowered = unit.applied(widths, below)
                choices.append(((measure(lowered) - divergence) / gain, unit.key, lowered))
        widths = min(choices)[2]
    return widths


if __name__ == "__main__":
    main()

"""What every technique brings: top-1, agreement with the float model and KL divergence of its logits.

    python -m tools.bench.ablation MODEL --calib DIR --val DIR --out DIR [--bits 3/3 --widths NAME.recipe.json ...]
        [--part left-out ...] [--row ROW ...] [--images 1000] [--jobs N --threads M] [--minutes T] [--json FILE]

For every width: plain min/max, then one technique more a row, up to `best`; `best` with each one left out; others (the
paper's pair, what is being tried); `best` with learned rounding behind it. --widths takes the width of every layer from
the recipe of an export with --mixed. Measured in torch with the simulation of the exported file (same codes but for
ties of rounding). In brackets what other images would give, at 95 %; the last column is the divergence above that of
the row in front (techniques added) or of `best`, on the same images: where it reaches over 0, the difference says
nothing. A row leaves a file in --out: what is there of this commit and these images is not measured again, so rows may
come at several times, --jobs at a time. With --minutes it ends in time; exit status 3 says that rows are missing.
"""

import json
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from mptq_export.cli.common import write_json
from mptq_export.cli.values import bits_from
from mptq_export.evaluate.metrics import mean_interval
from mptq_export.support.errors import MptqError
from tools.bench.ablation_rows import Asked, Widths, measure_rows
from tools.bench.techniques import PARTS, Variant
from tools.figures.commands import CommandError, Commands
from tools.figures.context import here
from tools.figures.cores import shares_of
from tools.options import Parser, Repeated, existing, positive

_MISSING = 3


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser("bench.ablation", __doc__)
    parser.add_argument("model")
    parser.add_argument("--calib", type=existing, required=True)
    parser.add_argument("--val", type=existing, required=True, help="Class folders.")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="Where rows are kept.")
    parser.add_argument("--bits", dest="uniform", action=Repeated, default=(), metavar="W/A", help="Default: 4/4.")
    parser.add_argument(
        "--widths", dest="recipes", action=Repeated, default=(), type=existing, metavar="RECIPE", help="Mixed widths."
    )
    parser.add_argument(
        "--part", dest="parts", action=Repeated, default=tuple(PARTS), choices=list(PARTS), help="Default: all."
    )
    parser.add_argument("--row", dest="names", action=Repeated, default=(), help="Only these rows. Default: all.")
    parser.add_argument("--images", type=positive, default=1000, help="At most so many validation images.")
    parser.add_argument("--count", type=positive, default=128, help="Calibration images.")
    parser.add_argument(
        "--device", dest="devices", action=Repeated, default=(), help="torch device; of several, jobs take one in turn."
    )
    parser.add_argument("--jobs", type=positive, default=1, help="Rows at a time.")
    parser.add_argument("--threads", type=positive, default=1, help="CPUs for each of them.")
    parser.add_argument("--minutes", type=float, help="End in time.")
    parser.add_argument("--commit", help="The commit, where there is no git.")
    parser.add_argument("--allow-dirty", action="store_true", help="Let changed files pass; the commit says so.")
    parser.add_json()
    return parser.run(run, arguments)


def run(
    *,
    model: str,
    calib: Path,
    val: Path,
    out: Path,
    uniform: tuple[str, ...],
    recipes: tuple[Path, ...],
    parts: tuple[str, ...],
    names: tuple[str, ...],
    images: int,
    count: int,
    devices: tuple[str, ...],
    jobs: int,
    threads: int,
    minutes: float | None,
    commit: str | None,
    allow_dirty: bool,
    json_path: Path | None,
) -> int:
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    context = here(commit, allow_dirty=allow_dirty)
    widths = [Widths.uniform(bits_from(text)) for text in uniform or (() if recipes else ("4/4",))]
    widths += [Widths.of_recipe(path) for path in recipes]
    asked = Asked(model, calib, val, out / context.commit, images, count, devices[0] if devices else None)
    variants = variants_of(parts, names)
    wanted = [(each, variant) for each in widths for variant in variants]
    missing = [(each, variant) for each, variant in wanted if not asked.row_file(each, variant).exists()]
    if jobs == 1:
        measure_rows(asked, missing, deadline)
    else:
        shared = ["--images", images, "--count", count, "--out", out, "--commit", context.commit]
        given = [model, "--calib", calib, "--val", val, *shared]
        commands = Commands(frozenset(), asked.out / "logs", deadline)
        _measure_beside(given, missing, commands, shares_of(jobs, threads), devices)
    there = [(each, variant) for each, variant in wanted if asked.row_file(each, variant).exists()]
    rows = rows_of(asked, there)
    write_json(json_path, {"model": Path(model).name, "calibration_images": count, "rows": rows})
    _show(rows, Path(model).name)
    if len(there) < len(wanted):
        print(f"{len(wanted) - len(there)} rows are missing; logs are in {asked.out / 'logs'}", file=sys.stderr)
    return _MISSING if len(there) < len(wanted) else 0


def variants_of(parts: Iterable[str], names: Sequence[str]) -> list[Variant]:
    """The rows of some parts, each once, in order: `best` is in several, the first of which says what it is beside.

    Args:
        parts: names of `PARTS`.
        names: only these rows; empty for all.

    Raises:
        MptqError: there is no row of a name.
    """
    found: dict[str, Variant] = {}
    for part in parts:
        for variant in PARTS[part]():
            found.setdefault(variant.name, variant)
    if unknown := sorted(set(names) - set(found)):
        raise MptqError(f"there is no row {unknown[0]!r}; rows are {', '.join(found)}")
    return [variant for name, variant in found.items() if not names or name in names]


def rows_of(asked: Asked, there: Sequence[tuple[Widths, Variant]]) -> list[dict[str, Any]]:
    """The figures of rows that are there, each with the divergence above that of the row beside it."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    diverges: dict[tuple[str, str], np.ndarray] = {}
    for widths, variant in there:
        row = json.loads(asked.row_file(widths, variant).read_text(encoding="utf-8"))
        key = (widths.name, variant.name)
        diverges[key] = np.array(row.pop("divergences"))
        found[key] = {**row, "beside": None, "kl_above": None}
    for widths, variant in there:
        key, base = (widths.name, variant.name), (widths.name, variant.beside or "")
        if base in diverges:
            above = diverges[key] - diverges[base]
            found[key] |= {"beside": variant.beside, "kl_above": [float(above.mean()), *mean_interval(above)]}
    return list(found.values())


def _measure_beside(
    given: Sequence[object],
    missing: Sequence[tuple[Widths, Variant]],
    commands: Commands,
    shares: Sequence[frozenset[int]],
    devices: Sequence[str],
) -> None:
    """Measure rows in processes of their own, an equal share each; one that fails stops no other."""

    def measured(number: int) -> None:
        for widths in dict.fromkeys(each for each, _ in missing):
            rows = [variant.name for each, variant in missing[number :: len(shares)] if each == widths]
            options = [word for name in rows for word in ("--row", name)]
            options += ["--device", devices[number % len(devices)]] if devices else []
            try:
                if rows:
                    log = f"{widths.stem}.{number}"
                    commands.on(shares[number]).module(
                        "tools.bench.ablation", *given, *widths.options, *options, log=log
                    )
            except CommandError as error:
                print(error, file=sys.stderr, flush=True)

    with ThreadPoolExecutor(len(shares)) as pool:
        for _ in pool.map(measured, range(len(shares))):
            pass


def _show(rows: Sequence[dict[str, Any]], title: str) -> None:
    table = Table("widths", "method", "top-1", "agreement", "KL", "KL above the row beside", "s", title=title)
    for row in rows:
        above = ""
        if row["kl_above"] is not None:
            more, low, high = row["kl_above"]
            above = f"{more:+.4f} ({low:+.4f} to {high:+.4f})"
        low, high = row["kl_interval"]
        shares = (f"{row[key]:.1%}" for key in ("top1", "agreement"))
        kl = f"{row['kl']:.4f} ({low:.4f} to {high:.4f})"
        table.add_row(row["widths"], row["method"], *shares, kl, above, f"{row['seconds']:.0f}")
    Console(width=150).print(table)


if __name__ == "__main__":
    sys.exit(main())

"""The figures of the pages, measured and written.

    python -m tools.figures measure [--assets DIR] [--only accuracy] [--model deit_tiny] [--jobs 4 --threads 4]
    python -m tools.figures collect [--commit COMMIT]      (what was measured -> docs/figures/*.json)
    python -m tools.figures tables                         (docs/figures/*.json -> the pages)
    python -m tools.figures context > CONTEXT.json         (on another machine: commit, machine, versions)
    python -m tools.figures adopt TABLE FILE ... [--context CONTEXT.json]     (JSON of another tool -> rows)

`make figures` runs the first three. Rows of the tables of the edge come from other tools, some on other machines:
`adopt` takes their JSON in, stamped with this commit and machine, or with CONTEXT.json of where it was written.
Measuring goes on where it stopped: a row that is there for this commit is not measured again, and files that were
exported for it are kept in --out. With --minutes it ends in time, and says what is missing by its exit status (3).
Models whose checkpoints are not in --assets (or MPTQ_ASSETS) are left out.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tools.figures.adopted import ADOPTED, adopt, adopted_rows
from tools.figures.bench import Bench
from tools.figures.commands import Commands
from tools.figures.context import Context, here
from tools.figures.large import LARGE
from tools.figures.latency import SHAPES
from tools.figures.measure import measure
from tools.figures.models import REPO, Model, models
from tools.figures.pages import PAGES, rendered
from tools.figures.store import DOCUMENTS, Measured, document, read_documents, write_document
from tools.figures.tables import TABLES

_MISSING = 3
_ALL = models(Path())


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _parser().parse_args(arguments)
    status: int = asked.run(asked)
    return status


def _measure(asked: argparse.Namespace) -> int:
    context = here(asked.commit, allow_dirty=asked.allow_dirty)
    deadline = None if asked.minutes is None else time.monotonic() + 60 * asked.minutes
    folder = asked.out / context.commit
    folder.mkdir(parents=True, exist_ok=True)
    bench = Bench(Commands(frozenset(), folder / "logs", deadline), folder, tuple(asked.device))
    there = _there(asked.assets, asked.model)
    rows = [
        (table, row)
        for table in TABLES
        if not asked.only or table.name in asked.only
        for row in table.rows(there)
        if not asked.model or row.model in asked.model
        if not asked.row or any(text in row.key for text in asked.row)
    ]
    missing = measure(rows, bench, context, Measured(asked.out / "rows.jsonl"), jobs=asked.jobs, threads=asked.threads)
    print(f"{missing} rows are missing" if missing else "all rows are there")
    return _MISSING if missing else 0


def _there(assets: Path | None, asked: list[str] | None) -> list[Model]:
    """The models whose checkpoints are there.

    Raises:
        SystemExit: one that was asked for is not.
    """
    found = [model for model in models(assets) if model.checkpoint.is_file()]
    missing = set(asked or ()) - {model.key for model in found} - {*SHAPES, *LARGE}
    if missing:
        raise SystemExit(
            f"{', '.join(sorted(missing))}: no checkpoint in {assets or 'no folder'}; name it with --assets"
        )
    return found


def _collect(asked: argparse.Namespace) -> int:
    measured = Measured(asked.out / "rows.jsonl")
    lines = measured.of(asked.commit or measured.last_commit())
    for table in TABLES:
        wanted = table.rows(_ALL)
        kept = document(table.name, wanted, lines)
        if kept is not None:
            print(f"{write_document(kept)}: {len(kept.rows)} of {len(wanted)} rows, commit {kept.commit}")
    for adopted in ADOPTED:
        kept = document(adopted.name, adopted_rows(adopted, lines), lines)
        if kept is not None:
            print(f"{write_document(kept)}: {len(kept.rows)} rows, commit {kept.commit}")
    return 0


def _context(asked: argparse.Namespace) -> int:
    print(json.dumps(asdict(here(asked.commit, allow_dirty=asked.allow_dirty)), indent=1))
    return 0


def _adopt(asked: argparse.Namespace) -> int:
    if asked.context is None:
        context = here(asked.commit, allow_dirty=asked.allow_dirty)
    else:
        context = Context(**json.loads(asked.context.read_text(encoding="utf-8")))
    asked.out.mkdir(parents=True, exist_ok=True)
    table = next(each for each in ADOPTED if each.name == asked.table)
    count = adopt(table, asked.files, context, Measured(asked.out / "rows.jsonl"))
    print(f"{table.name}: {count} rows, commit {context.commit}, {context.machine}")
    return 0


def _tables(_asked: argparse.Namespace) -> int:
    documents = read_documents(DOCUMENTS)
    for page in PAGES:
        page.write_text(rendered(page.read_text(encoding="utf-8"), documents), encoding="utf-8")
        print(f"{page} is written")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.figures", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = parser.add_subparsers(required=True, metavar="measure | collect | tables | context | adopt")
    first = parts.add_parser("measure", help="measure what is not there yet")
    second = parts.add_parser("collect", help="keep what was measured of one commit as documents")
    third = parts.add_parser("tables", help="write the documents into the pages")
    fourth = parts.add_parser("context", help="say commit, machine and versions as JSON")
    fifth = parts.add_parser("adopt", help="take in rows that another tool measured")
    each = ((first, _measure), (second, _collect), (third, _tables), (fourth, _context), (fifth, _adopt))
    for part, run in each:
        part.set_defaults(run=run)
    fifth.add_argument("table", choices=[table.name for table in ADOPTED])
    fifth.add_argument("files", nargs="+", type=Path, metavar="FILE", help="JSON of the table's tool")
    fifth.add_argument("--context", type=Path, metavar="FILE", help="what `context` wrote where they were measured")
    for part in (first, second, fifth):
        part.add_argument("--out", type=Path, default=REPO / "out" / "figures", metavar="DIR", help="work folder")
    for part in (first, second, fourth, fifth):
        part.add_argument("--commit", help="the commit, where there is no git, or not the last one")
    assets = os.environ.get("MPTQ_ASSETS")
    first.add_argument("--assets", type=Path, default=assets and Path(assets), metavar="DIR", help="real checkpoints")
    first.add_argument("--only", action="append", choices=[table.name for table in TABLES], help="these tables")
    known = [*(model.key for model in _ALL), *SHAPES, *LARGE]
    first.add_argument("--model", action="append", choices=known, help="rows of these models")
    first.add_argument("--row", action="append", metavar="TEXT", help="rows with TEXT in their names")
    first.add_argument("--jobs", type=int, default=1, help="rows at a time (latencies always run alone)")
    first.add_argument("--threads", type=int, default=1, help="CPUs for each of them")
    first.add_argument(
        "--device",
        action="append",
        default=[],
        help="torch device of exports; of several, workers take one each in turn",
    )
    first.add_argument("--minutes", type=float, help="end in time")
    for part in (first, fourth, fifth):
        part.add_argument("--allow-dirty", action="store_true", help="let changed files pass; the commit says so")
    return parser


if __name__ == "__main__":
    sys.exit(main())

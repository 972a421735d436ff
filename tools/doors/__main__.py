"""Every kind of file that people have: written, read, exported, compared.

    python -m tools.doors [--only PATTERN] [--again STATUS] [--results FILE] [--json FILE] [--table docs/doors.md]

Results are kept as they come, a line each; what is there already is not tried again, so that an interrupted run goes
on. `--again` tries what has that status (or `all`) once more. Kinds whose libraries are not installed are left out and
named. The exit status is 1 where a kind did not do what it has to.
"""

import fnmatch
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

from mptq_export.support.json_files import write_json
from tools.doors.kind import Kind
from tools.doors.kinds import GROUPS, KINDS, group_of
from tools.doors.result import GOOD, append, read_results
from tools.doors.run import missing_libraries, run_kind
from tools.doors.table import cells, markdown, summary
from tools.options import Parser, Repeated, positive


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser("doors", __doc__)
    parser.add_argument("--only", action=Repeated, default=("*",), help="Kinds or groups, by shell pattern.")
    parser.add_argument("--again", action=Repeated, default=(), help="Statuses that are tried once more, or all.")
    parser.add_argument("--results", type=Path, default=Path("out/doors.jsonl"), help="A line each, as they come.")
    parser.add_argument("--jobs", type=positive, default=1, help="Kinds at a time.")
    parser.add_argument("--timeout", type=positive, default=900, help="Seconds for one kind.")
    parser.add_argument("--table", type=Path, help="Write all results as Markdown.")
    parser.add_json()
    return parser.run(run, arguments)


def run(
    *,
    only: tuple[str, ...],
    again: tuple[str, ...],
    results: Path,
    jobs: int,
    timeout: int,
    table: Path | None,
    json_path: Path | None,
) -> int:
    results.parent.mkdir(parents=True, exist_ok=True)
    chosen = [kind for kind in KINDS if any(_matches(kind, pattern) for pattern in only)]
    known = read_results(results)
    done = {name for name, row in known.items() if row.status not in again and "all" not in again}
    absent = {kind.name: missing_libraries(kind) for kind in chosen}
    wanted = [kind for kind in chosen if kind.name not in done and not absent[kind.name]]
    for name, libraries in absent.items():
        if libraries and name not in done:
            print(f"{name}: left out, {' and '.join(libraries)} not installed")
    with ThreadPoolExecutor(jobs) as pool:
        for finished in as_completed([pool.submit(run_kind, kind, timeout) for kind in wanted]):
            row = finished.result()
            append(results, row)
            print(" | ".join(cells(row)), flush=True)
    known = read_results(results)
    rows = [known[kind.name] for kind in chosen if kind.name in known]
    print(summary(rows, len(chosen)))
    if table is not None:
        table.write_text(markdown(GROUPS, known), encoding="utf-8")
    if json_path is not None:
        write_json(json_path, {"results": [asdict(row) for row in rows]})
    return 0 if all(row.status in GOOD for row in rows) else 1


def _matches(kind: Kind, pattern: str) -> bool:
    return fnmatch.fnmatchcase(kind.name, pattern) or fnmatch.fnmatchcase(group_of(kind), pattern)


if __name__ == "__main__":
    sys.exit(main())

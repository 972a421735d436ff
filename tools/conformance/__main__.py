"""Models of a library: captured, exported, and compared with the reference tensor by tensor.

    python -m tools.conformance docs/models.jsonl [--library timm] [--only 'vit_*'] [--again refused] [--jobs N]
                                [--table docs/models.md]

Weights are random (unit gain, biases that are not zero), images are synthetic and, of timm's models, as small as the
model allows. A result is one line of the file; what is there already is not tried again, so that an interrupted run
goes on. `--again` tries what the file says was refused (or failed) once more. `--table` writes what the file holds as
Markdown.
"""

import fnmatch
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path

from rich.progress import track

from tools.conformance.examine import tried
from tools.conformance.libraries import LIBRARIES
from tools.conformance.page import markdown
from tools.conformance.row import STATUSES, TOO_LARGE, line, read_rows
from tools.options import Parser, Repeated, positive


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser("conformance", __doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("--library", choices=LIBRARIES, default="timm", help="Whose models; timm's by default.")
    parser.add_argument("--only", action=Repeated, default=("*",), help="Models, by shell pattern.")
    parser.add_argument("--again", action=Repeated, default=(), help="Statuses in the file that are tried once more.")
    parser.add_argument("--jobs", type=positive, default=1, help="Models at a time.")
    parser.add_argument(
        "--most", type=positive, default=350, help="Largest model that is tried, in millions of parameters."
    )
    parser.add_argument("--timeout", type=positive, default=900, help="Seconds for one model.")
    parser.add_argument("--threads", type=positive, default=1, help="Threads of torch for one model.")
    parser.add_argument("--table", type=Path, help="Write the results as Markdown.")
    return parser.run(run, arguments)


def run(
    *,
    results: Path,
    library: str,
    only: tuple[str, ...],
    again: tuple[str, ...],
    jobs: int,
    most: int,
    timeout: int,
    threads: int,
    table: Path | None,
) -> None:
    kept = [row for row in read_rows(results) if row.library == library and row.status not in again]
    known = {row.arch for row in kept if row.status != TOO_LARGE or row.parameters > most * 1_000_000}
    wanted = [
        (name, family)
        for name, family in LIBRARIES[library].names()
        if name not in known and any(fnmatch.fnmatch(name, pattern) for pattern in only)
    ]
    with ThreadPoolExecutor(jobs) as pool, results.open("a", encoding="utf-8") as file:
        limited = partial(tried, library, most=most * 1_000_000, timeout=timeout, threads=threads)
        started = [pool.submit(limited, *job) for job in wanted]
        for done in track(as_completed(started), "examining", len(wanted), transient=True):
            file.write(line(done.result()))
            file.flush()
    rows = read_rows(results)
    results.write_text("".join(map(line, rows)), encoding="utf-8")
    for status in STATUSES:
        print(f"{status}: {sum(row.status == status and row.library == library for row in rows)}")
    if table is not None:
        table.write_text(markdown(rows), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())

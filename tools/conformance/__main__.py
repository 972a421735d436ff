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
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import torch
from rich.progress import track

from mptq_export.support.errors import MptqError
from tools.conformance.libraries import LIBRARIES
from tools.conformance.page import markdown
from tools.conformance.row import EXACT, FAILED, REFUSED, STATUSES, TOO_LARGE, Row, line, read_rows
from tools.in_process import LostError, in_process
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
        started = [pool.submit(tried, library, *job, most * 1_000_000, timeout) for job in wanted]
        for done in track(as_completed(started), "examining", len(wanted), transient=True):
            file.write(line(done.result()))
            file.flush()
    rows = read_rows(results)
    results.write_text("".join(map(line, rows)), encoding="utf-8")
    for status in STATUSES:
        print(f"{status}: {sum(row.status == status and row.library == library for row in rows)}")
    if table is not None:
        table.write_text(markdown(rows), encoding="utf-8")


def tried(library: str, arch: str, family: str, most: int, timeout: float) -> Row:
    """Examine a model in a process of its own, which may die or hang."""
    start = time.perf_counter()
    try:
        return in_process(examine, library, arch, family, most, timeout=timeout, preload=[examine.__module__])
    except LostError as error:
        return Row(arch, family, FAILED, str(error), 0, 0, round(time.perf_counter() - start, 1), library)


def examine(library: str, arch: str, family: str, most: int) -> Row:
    """Build, export and compare one model."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    parameters, side, reduced = 0, 0, ""
    try:
        found = LIBRARIES[library].prepare(arch)
        parameters, side, reduced = found.parameters, found.side, found.reduced
        if parameters > most:
            status, detail = TOO_LARGE, f"{parameters / 1e6:.0f} million parameters"
        else:
            status, detail = EXACT, found.compare()
    except MptqError as error:
        status, detail = REFUSED, str(error)
    except Exception as error:  # noqa: BLE001 - a defect is a result here
        where = traceback.extract_tb(error.__traceback__)[-1]
        first = (str(error).strip().splitlines() or [""])[0]
        status, detail = FAILED, f"{type(error).__name__} in {Path(where.filename).name}:{where.lineno}: {first}"
    seconds = round(time.perf_counter() - start, 1)
    return Row(arch, family, status, detail, parameters, side, seconds, library, reduced)


if __name__ == "__main__":
    sys.exit(main())

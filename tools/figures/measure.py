"""Measuring rows, several at a time, until all are there or the time is over."""

import os
import queue
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tools.figures.bench import Bench
from tools.figures.commands import CommandError
from tools.figures.context import Context
from tools.figures.cores import shares_of
from tools.figures.store import Measured
from tools.figures.table import Row, Table


def measure(
    wanted: Sequence[tuple[Table, Row]], bench: Bench, context: Context, measured: Measured, *, jobs: int, threads: int
) -> int:
    """Measure what is not there yet.

    Args:
        wanted: all rows of the tables that are asked for.
        bench: what they are measured with; each worker gets its own cores.
        context: the commit and the machine.
        measured: where rows go, and where those of this commit may lie.
        jobs: rows at a time, of tables whose rows need not run alone.
        threads: CPUs for each.

    Returns:
        How many rows are missing after it.
    """
    known = measured.of(context.commit)
    missing = [(table, row) for table, row in wanted if (table.name, row.key) not in known]
    print(f"{len(wanted)} rows, {len(wanted) - len(missing)} of them are there; {context.commit}, {context.machine}")
    slots = shares_of(jobs, threads)
    together = sorted((each for each in missing if not each[0].alone), key=lambda each: each[1].turn)
    alone = [each for each in missing if each[0].alone]
    failed = _all(together, slots, bench, context, measured)
    return failed + _all(alone, [frozenset(os.sched_getaffinity(0))], bench, context, measured)


def _all(
    rows: Sequence[tuple[Table, Row]],
    slots: Sequence[frozenset[int]],
    bench: Bench,
    context: Context,
    measured: Measured,
) -> int:
    free: queue.SimpleQueue[tuple[int, frozenset[int]]] = queue.SimpleQueue()
    for slot in enumerate(slots):
        free.put(slot)

    def one(table: Table, row: Row) -> bool:
        slot = number, cores = free.get()
        start = time.monotonic()
        try:
            figures = row.measure(bench.on(number, cores))
        except CommandError as error:
            print(f"{table.name}, {row.key}: {error}", file=sys.stderr, flush=True)
            return False
        finally:
            free.put(slot)
        measured.add(table.name, row.key, context, {**figures, "jobs": len(slots), "threads": len(cores)})
        print(f"{table.name}, {row.key}: {time.monotonic() - start:.0f} s", flush=True)
        return True

    with ThreadPoolExecutor(len(slots)) as pool:
        done = [pool.submit(one, *each) for each in rows]
    return sum(not each.result() for each in done)  # what nobody expected is raised when all others are there

"""CPUs for rows that are measured side by side."""

import os


def shares_of(jobs: int, threads: int) -> list[frozenset[int]]:
    """CPUs of this machine for every job, so many each, none shared.

    Raises:
        SystemExit: there are not so many.
    """
    cores = sorted(os.sched_getaffinity(0))
    if jobs * threads > len(cores):
        raise SystemExit(f"{jobs} jobs of {threads} threads need more than the {len(cores)} CPUs here")
    return [frozenset(cores[threads * job : threads * (job + 1)]) for job in range(jobs)]

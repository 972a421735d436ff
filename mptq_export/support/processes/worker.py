"""What every process but the first runs: `python -m mptq_export.support.processes.worker PORT RANK SIZE`."""

import os
import sys

import torch
import torch.distributed as dist

from mptq_export.support.processes.calls import answered, asked, join
from mptq_export.support.processes.group import Seat


def main() -> None:
    """Answer calls until there are no more, or the first process is gone."""
    port, rank, size = map(int, sys.argv[1:4])
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))  # sums of floats depend on it
    join(port, rank, size)
    seat = Seat(rank, size)
    while (call := asked(seat, None)) is not None:
        answered(seat, call)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()

"""What the tests of processes run in them: apart, so that another process need not import the tests."""

import os
import signal
from typing import Any

import torch

from mptq_export.support.processes.group import Seat


def given(seat: Seat, x: torch.Tensor, *, name: str) -> tuple[int, torch.Tensor, list[int], str]:
    return seat.rank, 2 * x, list(seat.share(range(5))), name


def keeping(seat: Seat, key: str, value: int | None) -> Any:
    return seat.kept.get(key) if value is None else seat.kept.setdefault(key, value + seat.rank)


def failing(seat: Seat, rank: int) -> int:
    if seat.rank == rank:
        raise ValueError("no\nmore")
    return seat.rank


def ending(seat: Seat) -> None:
    if seat.rank:
        os.kill(os.getpid(), signal.SIGKILL)

"""Calls over `torch.distributed`: the first process says what is computed, all compute, the first gets the results."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from mptq_export.support.errors import MptqError
from mptq_export.support.processes.group import Seat

#: How long a process waits for the others: longer than anything that one of them computes between two calls.
TIMEOUT = timedelta(hours=1)

#: Where processes of one machine meet.
HOST = "127.0.0.1"

#: The network interface of that address, for gloo.
INTERFACE = "lo"


def join(port: int, rank: int, size: int, store: dist.Store | None = None) -> None:
    """Become one of a group of processes on this machine.

    Args:
        port: of the store through which they find each other.
        rank: number of this process.
        size: how many there are.
        store: that store, where it is in this process.
    """
    store = store or dist.TCPStore(HOST, port, size, is_master=False, timeout=TIMEOUT)
    if rank:
        store.set(_ready(rank), b"")
    dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=TIMEOUT)


def ready_keys(size: int) -> list[str]:
    """What the store holds as soon as all other processes are about to join."""
    return [_ready(rank) for rank in range(1, size)]


def _ready(rank: int) -> str:
    return f"ready/{rank}"


def asked(seat: Seat, call: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
    """The next call, from the first process to all: what is dropped before it, function, arguments; None: no more."""
    box = [call]
    dist.broadcast_object_list(box, src=0)
    if box[0] is not None:
        for key in box[0][0]:
            seat.kept.pop(key, None)
    return box[0]


def answered(seat: Seat, call: tuple[Any, ...]) -> list[Any]:
    """Compute, and give the first process what all found.

    Returns:
        The results in the order of the processes; of others than the first nothing.

    Raises:
        MptqError: a process could not compute it.
        Exception: this is the first process, and it could not.
    """
    function, given, named = call[1:]
    error: Exception | None = None
    try:
        own: tuple[Any, str] = (_computed(function, seat, given, named), "")
    except Exception as found:  # noqa: BLE001 - the others wait for an answer, whatever went wrong here
        error, own = found, (None, _told(found))
    answers: list[tuple[Any, str]] | None = [(None, "")] * seat.size if seat.rank == 0 else None
    dist.gather_object(own, answers, dst=0)
    if answers is None:
        return []
    if error is not None:
        raise error
    for rank, (_, reason) in enumerate(answers):
        if reason:
            raise MptqError(f"process {rank} of {seat.size}: {reason}")
    return [result for result, _ in answers]


def _computed(function: Callable[..., Any], seat: Seat, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
    return function(seat, *given, **named)


def _told(error: Exception) -> str:
    first = (str(error).strip().splitlines() or ["no reason given"])[0]
    return first if isinstance(error, MptqError) else f"{type(error).__name__}: {first}"

"""Calls over `torch.distributed`: the first process says what is computed, all compute, the first gets the results."""

import io
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from numpy.typing import NDArray

from mptq_export.support.errors import MptqError
from mptq_export.support.processes.group import Seat

#: How long a process waits for the others: longer than anything that one of them computes between two calls.
TIMEOUT = timedelta(hours=1)

#: Where processes of one machine meet.
HOST = "127.0.0.1"

#: The network interface of that address, for gloo.
INTERFACE = "lo"


class LostError(Exception):
    """The connection to another process broke."""


def join(port: int, rank: int, size: int, store: Any = None) -> None:
    """Become one of a group of processes on this machine.

    Args:
        port: of the store through which they find each other.
        rank: number of this process.
        size: how many there are.
        store: that store, where it is in this process.
    """
    store = store or dist.TCPStore(HOST, port, size, is_master=False, timeout=TIMEOUT)  # type: ignore[attr-defined]
    if rank:
        store.set(_ready(rank), "")
    dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=TIMEOUT)


def ready_keys(size: int) -> list[str]:
    """What the store holds as soon as all other processes are about to join."""
    return [_ready(rank) for rank in range(1, size)]


def _ready(rank: int) -> str:
    return f"ready/{rank}"


def asked(seat: Seat, call: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
    """The next call, from the first process to all: what is dropped before it, function, arguments; None: no more.

    Raises:
        LostError: another process has ended.
    """
    box = [packed(call) if seat.rank == 0 else b""]
    with _connected():
        dist.broadcast_object_list(box, src=0)
    if seat.rank:
        call = pickle.loads(box[0])
    for key in call[0] if call is not None else ():
        seat.kept.pop(key, None)
    return call


def answered(seat: Seat, call: tuple[Any, ...]) -> list[Any]:
    """Compute, and give the first process what all found.

    Returns:
        The results in the order of the processes; of others than the first nothing.

    Raises:
        LostError: another process has ended.
        MptqError: a process could not compute it.
        Exception: this is the first process, and it could not.
    """
    function, given, named = call[1:]
    error: Exception | None = None
    try:
        own: tuple[Any, str] = (_computed(function, seat, given, named), "")
    except Exception as raised:  # noqa: BLE001 - the others wait for an answer, whatever went wrong here
        error, own = raised, (None, _told(raised))
    answers = [b""] * seat.size if seat.rank == 0 else None
    with _connected():
        dist.gather_object(b"" if seat.rank == 0 else packed(own), answers, dst=0)
    if answers is None:
        return []
    if error is not None:
        raise error
    found = [own, *map(pickle.loads, answers[1:])]  # of the processes that this one started
    for rank, (_, reason) in enumerate(found):
        if reason:
            raise MptqError(f"process {rank} of {seat.size}: {reason}")
    return [result for result, _ in found]


@contextmanager
def _connected() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # of gloo: it has no type of its own
        raise LostError from error


def packed(value: Any) -> bytes:
    """A value as bytes; its tensors will lie on the first device of their kind where they are read."""
    file = io.BytesIO()
    _Packer(file).dump(value)
    return file.getvalue()


class _Packer(pickle.Pickler):
    """torch writes tensors as an archive each, several times as slowly."""

    def reducer_override(self, value: object) -> Any:
        if type(value) is not torch.Tensor or value.dtype not in _PLAIN:
            return NotImplemented
        return _tensor, (value.detach().cpu().numpy(), value.device.type)


def _tensor(numbers: NDArray[Any], device: str) -> torch.Tensor:
    return torch.from_numpy(numbers).to(device)


#: Types of tensors that NumPy has.
_PLAIN = (torch.float64, torch.float32, torch.int64, torch.int32, torch.int8, torch.uint8, torch.bool)


def _computed(function: Callable[..., Any], seat: Seat, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
    return function(seat, *given, **named)


def _told(error: Exception) -> str:
    first = (str(error).strip().splitlines() or ["no reason given"])[0]
    return first if isinstance(error, MptqError) else f"{type(error).__name__}: {first}"

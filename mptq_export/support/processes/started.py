"""Processes on this machine: started by torch's launcher, joined by `torch.distributed` (gloo over the loopback).

Each is a fresh interpreter that sees one GPU, as its `cuda:0`, or none. What goes between them are arguments and
results of calls, so that the same engine serves GPUs and, in tests, processors.
"""

import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Concatenate, Self

import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, PContext, Std, start_processes

from mptq_export.support.errors import MptqError
from mptq_export.support.processes.calls import HOST, INTERFACE, TIMEOUT, LostError, answered, asked, join, ready_keys
from mptq_export.support.processes.group import Given, Result, Seat
from mptq_export.support.progress import Bar

#: Seconds that a process may take to start or to end.
_STARTING = 300.0

#: Seconds between two looks whether all have started.
_LOOK = 0.2

#: Seconds until one whose connection broke is seen to have ended.
_ENDING = 20.0

#: What the launcher takes over, so that Ctrl-C would no longer be one.
_SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT")

_KEPT = "what was measured is kept: go on with --resume"
_REMEDY = "take one GPU with --device cuda:0"


class Processes:
    """A group: this process, and others that it starts and ends. A context manager."""

    def __init__(self, devices: Sequence[str]) -> None:
        """Start nothing yet.

        Args:
            devices: what `CUDA_VISIBLE_DEVICES` is in each of the other processes; "" for none.
        """
        self.size = 1 + len(devices)
        self._devices = devices
        self._seat = Seat(0, self.size)
        self._dropped: list[str] = []

    def __enter__(self) -> Self:
        """Start the others.

        Raises:
            MptqError: one of them does not start.
        """
        self._folder = tempfile.TemporaryDirectory(prefix="mptq-")
        self._store = dist.TCPStore(HOST, 0, self.size, is_master=True, wait_for_workers=False, timeout=TIMEOUT)  # type: ignore[attr-defined]
        self._context = _started(self._devices, self._store.port, Path(self._folder.name))
        try:
            self._wait_for_start()
            with _interface():
                join(self._store.port, 0, self.size, self._store)
        except BaseException:
            self._end()
            raise
        return self

    def call(
        self, function: Callable[Concatenate[Seat, Given], Result], *given: Given.args, **named: Given.kwargs
    ) -> list[Result]:
        """As the protocol `Group` says."""
        dropped, self._dropped = self._dropped, []
        call = (dropped, function, given, named)
        try:
            asked(self._seat, call)
            return answered(self._seat, call)
        except LostError as error:
            reason = self._failed(_ENDING) or "it does not answer"
            raise MptqError(f"a process for another GPU has ended ({reason}); {_KEPT}, or {_REMEDY}") from error

    def hear(self, bar: Bar) -> None:
        """As the protocol `Group` says."""
        self._seat = replace(self._seat, bar=bar)

    def drop(self, key: str) -> None:
        """As the protocol `Group` says."""
        self._dropped.append(key)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let the others end; they are ended where they may be in the middle of something."""
        if kind is None:
            with suppress(LostError):  # nobody is left to be told
                asked(self._seat, None)
                self._context.wait(_STARTING)
        self._end()
        if dist.is_initialized():
            dist.destroy_process_group()

    def _end(self) -> None:
        self._context.close()
        self._folder.cleanup()

    def _wait_for_start(self) -> None:
        until = time.monotonic() + _STARTING
        while not self._store.check(ready_keys(self.size)):
            if (reason := self._failed(_LOOK)) is not None or time.monotonic() > until:
                raise MptqError(f"a process for another GPU did not start ({reason or 'time is up'}); {_REMEDY}")

    def _failed(self, wait: float) -> str | None:
        """Why another process has ended; None where none has for so many seconds."""
        found = self._context.wait(wait)
        if found is None or not found.failures:
            return None
        rank, failure = min(found.failures.items(), key=lambda each: each[1].timestamp)
        said = Path(found.stderrs[rank]).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f"status {failure.exitcode}{f': {said[-1]}' if said else ''}"


def _started(devices: Sequence[str], port: int, logs: Path) -> PContext:
    logging.getLogger("torch.distributed.elastic.multiprocessing.api").setLevel(logging.CRITICAL)  # told by errors
    size = 1 + len(devices)
    arguments = {i: ("-m", f"{__package__}.worker", str(port), str(i + 1), str(size)) for i in range(size - 1)}
    shared = {
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
        "GLOO_SOCKET_IFNAME": INTERFACE,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    environments = {i: {**os.environ, **shared, "CUDA_VISIBLE_DEVICES": device} for i, device in enumerate(devices)}
    with _handlers_kept():
        return start_processes(
            name="mptq-export",
            entrypoint=sys.executable,
            args=arguments,
            envs=environments,
            logs_specs=DefaultLogsSpecs(log_dir=str(logs), redirects=Std.ALL),
        )


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """The handlers of signals are afterwards as they were."""
    before = {name: signal.getsignal(getattr(signal, name)) for name in _SIGNALS if hasattr(signal, name)}
    yield
    for name, handler in before.items():
        if handler is not None and signal.getsignal(getattr(signal, name)) is not handler:
            signal.signal(getattr(signal, name), handler)


@contextmanager
def _interface() -> Iterator[None]:
    """Where gloo listens, while this process joins: on this machine alone."""
    before = os.environ.get("GLOO_SOCKET_IFNAME")
    os.environ["GLOO_SOCKET_IFNAME"] = INTERFACE
    yield
    if before is None:
        del os.environ["GLOO_SOCKET_IFNAME"]
    else:
        os.environ["GLOO_SOCKET_IFNAME"] = before

"""A command in a process of its own: where a library crashes on a hostile file, the user still gets one line.

onnxruntime is C++ and trusts much of what a file says: a damaged one can end the process. Everything is therefore done
in a forked child, before any heavy module is imported, which costs a millisecond. The parent only waits. Where there is
no fork (Windows), the command runs as it is.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType


def isolate() -> int | None:
    """Go on in a child process.

    Returns:
        In the child, or where there is no fork: None. In the parent, when the child has ended: its exit status, or the
        negative number of the signal that ended it.
    """
    if not hasattr(os, "fork"):
        return None
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        _limit_memory()
        return None
    with _signals_to(child):
        _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def why(number: int) -> str:
    """What a signal that ended a child means, for people."""
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    cause = "it needs more memory than there is, or somebody ended it" if number == signal.SIGKILL else "a crash"
    return f"{name}: {cause}"


@contextmanager
def _signals_to(child: int) -> Iterator[None]:
    """Wait for the child through an interruption, which the terminal sends to both; pass an end on to it."""

    def forward(number: int, _frame: FrameType | None) -> None:
        with suppress(ProcessLookupError):
            os.kill(child, number)

    old = signal.signal(signal.SIGINT, signal.SIG_IGN), signal.signal(signal.SIGTERM, forward)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, old[0])
        signal.signal(signal.SIGTERM, old[1])


def _limit_memory() -> None:
    """No more memory than the machine has: an allocation beyond it fails in the child, before anything is swapped."""
    import resource

    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = total if hard == resource.RLIM_INFINITY else min(total, hard)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))

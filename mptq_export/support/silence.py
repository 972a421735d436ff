"""What a library in C prints to stdout does not reach the terminal, or the pipe, of whoever runs a search."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def silent_stdout() -> Iterator[None]:
    """Send file descriptor 1 to nowhere, for all threads; stdout is as before afterwards."""
    if sys.stdout is not None:
        with suppress(OSError, ValueError):  # closed, or nobody reads it
            sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:  # a process without a stdout
        yield
        return
    _flush_c()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    try:
        yield
    finally:
        _flush_c()  # into a pipe C writes late
        os.dup2(kept, 1)
        os.close(kept)


def _flush_c() -> None:
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL("ucrtbase" if os.name == "nt" else None).fflush(None)

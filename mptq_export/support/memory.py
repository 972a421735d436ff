"""Memory that a stage is done with, given back to the system before the next stage starts."""

import ctypes
import sys


def trim() -> None:
    """Give back what is free inside the process: up to 32 MiB a piece, glibc keeps it for itself.

    Where the C library has no such function, nothing happens.
    """
    release = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if release is not None:
        release(0)

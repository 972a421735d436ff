"""The most memory that a process has taken."""

import resource
import sys


def peak_memory() -> int:
    """Bytes of this process, from its start."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

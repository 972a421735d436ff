"""What does not fit is refused before the work starts: files that ONNX cannot hold, and memory that is not there.

Memory is a lower bound: the weights, and the values that the walk holds of all calibration images at once (see
`quantize/walk/walk.py`). What is refused would surely have failed; what is not refused may still need more.
"""

import math
import os
from contextlib import suppress
from pathlib import Path

from mptq_export.support.control_groups import memory_left
from mptq_export.support.errors import MptqError

#: Protobuf, and so a single ONNX file, ends here.
ONNX_BYTES = 2**31 - 1

#: Bytes a weight that the end of an export takes, beside the float model: copies that transforms made, codes in the
#: recipe, in `kernels_ref` and in two sessions of onnxruntime, and the float32 numbers of `kernels_ref`. A billion
#: weights took 18 (docs/reliability.md).
CHECKED = 14

_GIB = 2**30


def check_file(what: str, parameters: int, bits: float, advice: str) -> None:
    """Refuse a file whose weights alone are too much for ONNX.

    Args:
        what: the file, for people.
        parameters: how many weights it holds.
        bits: of each.
        advice: what to do instead.

    Raises:
        MptqError: it would be larger than an ONNX file can be.
    """
    size = parameters * bits / 8
    if size > ONNX_BYTES:
        most = ONNX_BYTES / _GIB
        raise MptqError(
            f"{what} would hold {size / _GIB:.1f} GiB of weights, and an ONNX file ends at {most:.1f} GiB; {advice}"
        )


def check_memory(what: str, needed: float, advice: str) -> None:
    """Refuse what surely needs more memory than is free.

    Args:
        what: the step, for people.
        needed: bytes that it takes at least.
        advice: what to do instead.

    Raises:
        MptqError: less is free.
    """
    free = free_memory()
    if needed > free:
        raise MptqError(
            f"{what} needs at least {needed / _GIB:.1f} GiB of memory, and {free / _GIB:.1f} GiB are free; {advice}"
        )


def check_weights_fit(parameters: int) -> None:
    """Refuse a model that surely cannot be checked when it is done, before anything is done.

    Args:
        parameters: how many weights it has.

    Raises:
        MptqError: less memory is free.
    """
    what = f"an export of {parameters:,} weights"
    check_memory(what, CHECKED * parameters, "use a machine with more, or a smaller model")


def free_memory() -> float:
    """Bytes that this process can still take; infinite where the system does not say."""
    free = math.inf
    with suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = float(next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))) * 1024
    free = min(free, memory_left())
    if math.isinf(free) and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        free = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return free

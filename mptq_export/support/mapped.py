"""Memory that the system may take back at any time: files without a name, mapped.

What lies there is written to disk when memory is short, and read again when it is needed. The file is gone with its
mapping, and with the process, however that ends.
"""

import mmap
import os
import shutil
import tempfile

from mptq_export.support.errors import MptqError
from mptq_export.support.limits import free_memory

#: Share of the free memory that may be full of what waits. The rest is for what is computed, and for others.
SHARE = 0.5

_GIB = 2**30


def map_file(nbytes: int) -> mmap.mmap:
    """Room for so many bytes, on the disk of the folder for temporary files (`TMPDIR`).

    Args:
        nbytes: 1 or more.

    Raises:
        MptqError: the disk has less, or the folder cannot be written.
    """
    try:
        with tempfile.TemporaryFile() as file:
            if hasattr(os, "posix_fallocate"):  # a disk that is full would else kill the process at its first write
                os.posix_fallocate(file.fileno(), 0, nbytes)
            else:
                file.truncate(nbytes)
            return mmap.mmap(file.fileno(), nbytes)
    except OSError as error:
        raise MptqError(
            f"{tempfile.gettempdir()} cannot take {nbytes / _GIB:.1f} GiB of values that do not fit into memory: "
            f"{error.strerror or error}; name another folder with TMPDIR, or use fewer images (--count)"
        ) from error


def leave_memory(mapping: mmap.mmap) -> None:
    """Take a mapping's pages out of the process; what was written to them stays, and comes back when it is read."""
    if hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)


def memory_for_waiting() -> float:
    """Bytes of memory that values may wait in, as much as is free now."""
    return SHARE * free_memory()


def check_waiting(what: str, needed: float, advice: str, memory: float) -> None:
    """Refuse values that can wait neither in memory nor in files.

    Args:
        what: the step, for people.
        needed: bytes of all that waits at a time.
        advice: what to do instead.
        memory: bytes of it that may be full, as `memory_for_waiting` gives them for a CPU.

    Raises:
        MptqError: memory and disk together have less.
    """
    folder, beyond = tempfile.gettempdir(), needed - memory
    free = shutil.disk_usage(folder).free if beyond > 0 else 0
    if beyond > free:
        raise MptqError(
            f"{what} needs {beyond / _GIB:.1f} GiB in {folder} beside what fits into memory, and {free / _GIB:.1f} GiB "
            f"are free there; name another folder with TMPDIR, or {advice}"
        )

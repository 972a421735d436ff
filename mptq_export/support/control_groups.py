"""What the control groups of this process leave it of memory: those of a container, a batch system, a service.

Linux has two versions of them, and a machine may have both (https://docs.kernel.org/admin-guide/cgroup-v2.html and
.../cgroup-v1/memory.html). A limit of a group bounds all groups in it.
"""

import math
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

#: Limit, use, and the line of `memory.stat` with the files that were read: they count as used, and make room.
_FILES = {
    "": ("memory.max", "memory.current", "inactive_file"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def memory_left(mounted: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float:
    """Bytes that this process can still take; infinite where no group bounds it.

    Args:
        mounted: where the groups are.
        own: lists those of this process, as `NUMBER:CONTROLLERS:PATH`.
    """
    found = math.inf
    with suppress(OSError, ValueError):
        for line in own.read_text(encoding="utf-8").splitlines():
            _number, controllers, path = line.split(":", 2)
            if controllers in _FILES:
                groups = [mounted / controllers, *_groups(mounted / controllers, path)]
                found = min([found, *(_left(group, *_FILES[controllers]) for group in groups)])
    return found


def _groups(root: Path, path: str) -> Iterator[Path]:
    """The folders from a root to a group. In a container that hides its own name, only the root is there."""
    for part in Path(path.lstrip("/")).parts:
        root /= part
        yield root


def _left(group: Path, limit: str, use: str, files: str) -> float:
    with suppress(OSError, ValueError):  # no limit is the word `max`, or no file at all
        most, used = (float((group / name).read_text(encoding="ascii")) for name in (limit, use))
        counts = dict(line.split() for line in (group / "memory.stat").read_text(encoding="ascii").splitlines())
        return max(0.0, most - used + float(counts.get(files, 0)))
    return math.inf

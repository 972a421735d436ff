"""What is measured, and where: the commit, the machine, the versions."""

import os
import platform
import subprocess
from dataclasses import dataclass
from importlib.metadata import version

from mptq_export.bench.instruction_set import detect_cpu
from tools.figures.models import REPO

_LIBRARIES = ("onnxruntime", "torch", "timm", "numpy", "onnx", "scipy")


@dataclass(frozen=True)
class Context:
    """What every row is stamped with.

    Attributes:
        commit: of the code; with ``-dirty`` behind it where files had been changed.
        machine: the CPU, its cores and memory, and the GPU, in words.
        versions: of Python and the libraries that compute, by name.
    """

    commit: str
    machine: str
    versions: dict[str, str]


def here(commit: str | None, *, allow_dirty: bool) -> Context:
    """This machine, and the commit.

    Args:
        commit: where there is no git; asked of git when left out.
        allow_dirty: whether changed files are let pass.
    """
    libraries = {name: version(name) for name in _LIBRARIES}
    return Context(commit or _commit(allow_dirty), _machine(), {"python": platform.python_version(), **libraries})


def _commit(allow_dirty: bool) -> str:
    found = _git("rev-parse", "--short=7", "HEAD").strip()
    if not _git("status", "--porcelain", "--untracked-files=no").strip():
        return found
    if not allow_dirty:
        raise SystemExit("files are changed: commit them first, so that the figures are of a commit, or --allow-dirty")
    return f"{found}-dirty"


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", REPO, *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"git does not tell the commit ({error}); name it with --commit") from error
    return done.stdout


def _machine() -> str:
    import torch  # seconds: only where something is measured

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    parts = [detect_cpu().description, f"{len(os.sched_getaffinity(0))} CPUs", f"{memory:.0f} GiB"]
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return ", ".join(parts)

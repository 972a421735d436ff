"""Damaged files, one after the other, to everything that reads a stranger's file, for as long as it may take.

    python -m tools.fuzz --seconds 600
    python -m tools.fuzz --target kernels_ref --seed 1234 --count 1      (one file again)

Every file is read in a process of its own, with a limit of memory and time. A traceback, a crash, a hang, or a file
that was written or read where none was named is a failure: the seed is printed, and the exit status is 1. A crash
inside onnxruntime is counted apart: `mptq-verify` runs it in a child process and reports one line.
"""

import argparse
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fuzz.targets import Target

REPO = Path(__file__).resolve().parent.parent
#: Bytes and seconds for one file.
MEMORY, SECONDS = 6 * 2**30, 90
SECRET = b"nobody may read this"
#: Exit statuses of the child.
TAKEN, REFUSED, TRACEBACK, OUTSIDE = 0, 2, 3, 4


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="time for all targets together")
    parser.add_argument("--target", action="append", help="one of the readers; default: all in turn")
    parser.add_argument("--seed", type=int, default=0, help="of the first file; the next ones count up")
    parser.add_argument("--count", type=int, default=10**9, help="at most so many files a target")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_DATA, (2 * MEMORY, 2 * MEMORY))
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    sys.path.insert(0, str(REPO / "tests"))
    from fuzz.targets import TARGETS, write_samples

    names = arguments.target or list(TARGETS)
    found: dict[str, Counter[str]] = {name: Counter() for name in names}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "samples").mkdir()
        write_samples(root / "samples")
        (root / "secret.bin").write_bytes(SECRET)
        end, seed = time.monotonic() + arguments.seconds, arguments.seed
        while time.monotonic() < end and seed < arguments.seed + arguments.count:
            for target in names:
                outcome = attempt(TARGETS[target], root, seed)
                found[target][outcome] += 1
                if outcome not in ("taken", "refused", "runtime crash"):
                    print(f"{outcome}: --target {target} --seed {seed} --count 1", flush=True)
            seed += 1
    kinds = ["taken", "refused", "runtime crash", "traceback", "crash", "hang", "outside"]
    print(f"{'reader':<24}{'files':>8}" + "".join(f"{kind:>15}" for kind in kinds))
    for target, counts in found.items():
        print(f"{target:<24}{counts.total():>8}" + "".join(f"{counts[kind]:>15}" for kind in kinds))
    return int(any(counts[kind] for counts in found.values() for kind in kinds[3:]))


def attempt(target: "Target", root: Path, seed: int) -> str:
    """Damage a copy of the samples, read it in a child process, and say how that ended."""
    from fuzz.targets import damaged

    work = root / "work"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(root / "samples", work)
    (work / "link.bin").symlink_to(root / "secret.bin")
    damaged(target, work, Random(seed))
    before = snapshot(root)
    child = os.fork()
    if child == 0:
        os._exit(read(target, work))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if snapshot(root) != before:
        return "outside"
    if status == -signal.SIGALRM:
        return "hang"
    if status < 0:
        return "runtime crash" if target.read.__name__ == "_verify" else "crash"
    return {TAKEN: "taken", REFUSED: "refused", TRACEBACK: "traceback", OUTSIDE: "outside"}[status]


def read(target: "Target", work: Path) -> int:
    """In the child: limits, then the reader."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(SECONDS)
    outside: list[str] = []
    sys.addaudithook(lambda event, args: outside.append(f"{event} {args}") if forbidden(event, args, work) else None)
    try:
        taken = target.read(work)
    except BaseException:  # noqa: BLE001 (this is what is looked for)
        traceback.print_exc()
        return TRACEBACK
    if outside:
        print("\n".join(outside))
        return OUTSIDE
    return TAKEN if taken else REFUSED


def forbidden(event: str, args: tuple[object, ...], work: Path) -> bool:
    """Whether Python did something that reading a file does not need."""
    if event in ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "socket.connect", "pty.spawn"):
        return True
    if event != "open" or not isinstance(args[0], str):
        return False
    path, flags = Path(args[0]).resolve(), args[2] if isinstance(args[2], int) else 0
    temporary = path.parent.parent == Path(tempfile.gettempdir()) or path.parent == Path(tempfile.gettempdir())
    writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if writes:
        return not temporary and path != Path(os.devnull)
    return path == work.parent / "secret.bin" or path == Path("/etc/passwd")


def snapshot(root: Path) -> dict[str, tuple[int, int]]:
    """Every file with its size and time: what reading must leave as it is."""
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in root.rglob("*")}


if __name__ == "__main__":
    sys.exit(main())

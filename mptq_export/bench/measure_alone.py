"""One model alone in a process of its own: load time, peak memory and profile.

Run as a program it measures one file and prints JSON; `measure_alone` starts that program. The memory of a process
only grows, so models that share one cannot be told apart.
"""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from mptq_export.bench.inputs import feed_of
from mptq_export.bench.profile import Profile, profile
from mptq_export.runtime.graph_input import graph_input
from mptq_export.runtime.session import open_session, run_session
from mptq_export.support.errors import MptqError
from mptq_export.support.typed_json import from_json

_LOADS = 3
_STATUS = Path("/proc/self/status")
_MODULE = "mptq_export.bench.measure_alone"


@dataclass(frozen=True)
class ModelFigures:
    """What one model needs.

    Attributes:
        load_ms: until onnxruntime has a session, median of three.
        idle_bytes: peak memory of the process before it loaded the model.
        peak_bytes: peak memory after it loaded and ran the model; None, as `idle_bytes`, where the system does not
            say.
        profile: where the time of a run goes, op by op.
    """

    load_ms: float
    idle_bytes: int | None
    peak_bytes: int | None
    profile: Profile


def measure_alone(path: Path, *, threads: int, batch: int, runs: int) -> ModelFigures:
    """Measure a file in a new process.

    Args:
        path: the ONNX file.
        threads: onnxruntime's threads within an operator.
        batch: inputs a run.
        runs: number of profiled runs.

    Raises:
        MptqError: the file cannot be loaded or run, or the process died.
    """
    command = [sys.executable, "-m", _MODULE, str(path), str(threads), str(batch), str(runs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        found = json.loads(done.stdout.splitlines()[-1])
        if "error" in found:
            raise MptqError(found["error"])
        return from_json(ModelFigures, found)
    except (IndexError, ValueError) as error:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise MptqError(
            f"{path} cannot be measured: its process ended with status {done.returncode} ({last}); "
            "a negative status is a signal, 9 mostly a lack of memory"
        ) from error


def peak_memory() -> int | None:
    """Largest resident memory of this process so far, in bytes; None where the system does not say.

    (`getrusage` would also count what the parent held when it started this process.)
    """
    try:
        lines = _STATUS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None


def _measure(path: Path, threads: int, batch: int, runs: int) -> ModelFigures:
    idle = peak_memory()
    loads: list[float] = []
    peak: int | None = None
    for number in range(_LOADS):
        start = time.perf_counter()
        session = open_session(path, threads=threads)
        loads.append(time.perf_counter() - start)
        feed = feed_of(graph_input(session), batch)
        if number == 0:
            run_session(session, [entry.name for entry in session.get_outputs()], feed)
            peak = peak_memory()
        del session
    with tempfile.TemporaryDirectory() as folder:
        found = profile(path, feed, threads=threads, runs=runs, folder=Path(folder))
    return ModelFigures(median(loads) * 1e3, idle, peak, found)


def _main() -> None:
    path, *numbers = sys.argv[1:]
    try:
        found = asdict(_measure(Path(path), *(int(number) for number in numbers)))
    except MptqError as error:
        found = {"error": text if path in (text := str(error)) else f"{path}: {text}"}
    sys.stdout.write("\n" + json.dumps(found) + "\n")


if __name__ == "__main__":
    _main()

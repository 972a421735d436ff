"""The project's commands as a user runs them, each in a process of its own, with its time and memory."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from tools.figures.models import REPO

# The installed console scripts do the same; this also runs where the package is not installed.
_CONSOLE = (
    "import os, sys; os.sched_setaffinity(0, {cores}); from mptq_export.cli.{name} import main; "
    "sys.argv[0] = 'mptq-{name}'; main()"
)
_MODULE = (
    "import os, runpy; os.sched_setaffinity(0, {cores}); "
    "runpy.run_module('{name}', run_name='__main__', alter_sys=True)"
)
_POLL = 0.05


class CommandError(Exception):
    """A command failed, or there was no time for it."""


@dataclass(frozen=True)
class Ran:
    """What a command took.

    Attributes:
        status: its exit status.
        seconds: wall clock, from its start to its end.
        peak_mb: largest resident set of it and its children, in 1e6 bytes.
    """

    status: int
    seconds: float
    peak_mb: float


@dataclass(frozen=True)
class Commands:
    """Runs commands.

    Attributes:
        cores: the CPUs that they may use; as many threads compute.
        logs: folder for what they print.
        deadline: `time.monotonic` after which they are ended; None for never.
    """

    cores: frozenset[int]
    logs: Path
    deadline: float | None = None

    def on(self, cores: frozenset[int]) -> "Commands":
        """The same on other CPUs."""
        return replace(self, cores=cores)

    def console(self, name: str, *arguments: object, log: str, allowed: tuple[int, ...] = (0,)) -> Ran:
        """Run ``mptq-NAME``.

        Args:
            name: such as ``export``.
            arguments: of the command line.
            log: name of the file for its output.
            allowed: exit statuses that are no failure.

        Raises:
            CommandError: it failed, or the deadline came.
        """
        return self._run(_CONSOLE.format(cores=set(self.cores), name=name), arguments, log, allowed)

    def module(self, name: str, *arguments: object, log: str) -> Ran:
        """Run ``python -m NAME``, as `console`."""
        return self._run(_MODULE.format(cores=set(self.cores), name=name), arguments, log, (0,))

    def _run(self, code: str, arguments: tuple[object, ...], log: str, allowed: tuple[int, ...]) -> Ran:
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise CommandError(f"{log}: no time left")
        path = self.logs / f"{log}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "OMP_NUM_THREADS": str(len(self.cores)), "PYTHONPATH": _path()}
        command = [sys.executable, "-c", code, *map(str, arguments)]
        start = time.monotonic()
        with path.open("wb") as output:
            child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=REPO)
        ended = 0
        while not ended:
            ended, status, usage = os.wait4(child.pid, os.WNOHANG)
            if not ended and self.deadline is not None and time.monotonic() > self.deadline:
                child.send_signal(signal.SIGTERM)  # a command that runs in a process of its own passes it on
                os.wait4(child.pid, 0)
                raise CommandError(f"{log}: no time left")
            time.sleep(0 if ended else _POLL)
        seconds, child.returncode = time.monotonic() - start, os.waitstatus_to_exitcode(status)
        if child.returncode not in allowed:
            tail = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
            raise CommandError(f"{log}: exit status {child.returncode}: {' / '.join(tail)} (all of it: {path})")
        return Ran(child.returncode, seconds, usage.ru_maxrss * 1024 / 1e6)


def _path() -> str:
    """The repository, ahead of whatever else Python is told to look in."""
    return os.pathsep.join(filter(None, (str(REPO), os.environ.get("PYTHONPATH"))))

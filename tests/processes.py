"""Commands in processes of their own, which may be killed, crash or be limited; torch and the like are imported once.

The processes are forked from one that has imported what commands import and has done nothing else: their memory, file
descriptors and signals are their own.
"""

import multiprocessing
import os
import sys
import tempfile
from importlib import import_module
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["pytest", "torch", "timm", "mptq_export.export.run", "mptq_export.verify.run"])


class Started:
    """A running command.

    Attributes:
        kill: end it with SIGKILL.
    """

    def __init__(self, module: str, *arguments: object) -> None:
        """The command is `main` of a module, which finds the arguments in `sys.argv`."""
        self._folder = tempfile.TemporaryDirectory()
        self._said = [Path(self._folder.name) / name for name in ("stdout", "stderr")]
        words = [module, *map(str, arguments)]
        self._process = _CONTEXT.Process(target=_go, args=(words, dict(os.environ), self._said))
        self._process.start()
        self.kill = self._process.kill

    def finish(self, timeout: float = 300) -> tuple[int, str, str]:
        """Status (the negative number of the signal that ended it), stdout and stderr."""
        self._process.join(timeout)
        status = self._process.exitcode
        if status is None:
            self._process.kill()
            raise TimeoutError(f"still running after {timeout} s")
        with self._folder:
            out, err = (path.read_text() for path in self._said)
        return status, out, err


def _go(words: list[str], environment: dict[str, str], said: list[Path]) -> None:
    for number, path in enumerate(said, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[:] = words
    sys.exit(import_module(words[0]).main())

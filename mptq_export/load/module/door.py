"""What of a user's own module can be refused without torch.

It is named `package.module:name`, a function that makes it or the module itself, or it is a saved program, a `.pt2`
file.
"""

import importlib.util
import re
import sys
from pathlib import Path

from mptq_export.load.door import ENDING, Door
from mptq_export.load.file.content import Content, content_of
from mptq_export.load.request import ModelRequest
from mptq_export.support.errors import MptqError

_NAMED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def names_code(name: str) -> bool:
    """Whether a name is that of something in a Python module, and not of a file."""
    return _NAMED.fullmatch(name) is not None and not Path(name).exists()


def import_from_here() -> None:
    """Let the current directory be importable, as `python -m` does."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)


def _check(asked: ModelRequest) -> None:
    """Look for the package; nothing of it runs yet."""
    package = asked.name.partition(":")[0].partition(".")[0]
    import_from_here()
    importlib.invalidate_caches()
    try:
        found = package in sys.modules or importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        found = False
    if not found:
        raise MptqError(
            f"{asked.name} names the Python module {package}, and there is none here; run the command where {package} "
            f"can be imported (as python -m {package} would), or check the path if a file is meant"
        )


def check_trusted(asked: ModelRequest) -> None:
    """Refuse a program's file that nobody trusts.

    `torch.export.load` may run code that a file holds: it unpickles some weights and constants without restriction, and
    evaluates what is written of sizes.

    Raises:
        MptqError: there is no `--trust`.
    """
    if not asked.trust:
        raise MptqError(
            f"{asked.name} is a program of torch.export, and reading one may run code from the file; give --trust if "
            "you trust whom it is from"
        )


CODE = Door(lambda asked: names_code(asked.name), _check, lambda name: Path(name.rpartition(":")[2] + ENDING))
PROGRAM = Door(lambda asked: content_of(Path(asked.name)) is Content.PROGRAM, check_trusted)

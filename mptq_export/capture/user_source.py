"""Which line of whose source is at work: the user's own where there is one, else the library's that the model is of."""

import re
import sysconfig
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import torch

_OURS = (Path(__file__).parents[1], Path(torch.__file__).parent)
_PYTHON = tuple(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib"))
_INSTALLED = ("site-packages", "dist-packages")
_RECORDED = re.compile(r'^\s*File "(?P<file>[^"]+)", line (?P<line>\d+), in .*(?:\n\s*(?P<code>.*))?$', re.MULTILINE)
_LONGEST = 100


@dataclass(frozen=True)
class SourceLine:
    """A line of Python.

    Attributes:
        path: the file.
        line: its number, from 1.
        code: what stands there; empty where that is not known.
    """

    path: Path
    line: int
    code: str

    def __str__(self) -> str:
        """`model.py:12 (x = x[:len(x)])`, with a path from where one is, if it is not long."""
        path = self.path
        if path.is_relative_to(Path.cwd()):
            path = path.relative_to(Path.cwd())
        code = f" ({self.code[:_LONGEST]})" if self.code else ""
        return f"{path}:{self.line}{code}"


def of_frames(frames: Iterable[traceback.FrameSummary]) -> SourceLine | None:
    """The innermost line of a stack that is the user's own, or else of the library that the model is of.

    Args:
        frames: the outermost first.
    """
    return _innermost([SourceLine(Path(f.filename), f.lineno or 0, (f.line or "").strip()) for f in frames])


def of_traceback(trace: TracebackType | None) -> SourceLine | None:
    """The same of where an exception was raised."""
    return of_frames(traceback.extract_tb(trace))


def of_text(stack: str) -> SourceLine | None:
    """The same of a stack as `torch.export` notes it beside a node."""
    found = _RECORDED.finditer(stack)
    return _innermost([SourceLine(Path(m["file"]), int(m["line"]), (m["code"] or "").strip()) for m in found])


def _innermost(lines: list[SourceLine]) -> SourceLine | None:
    real = [each for each in reversed(lines) if each.path.name[:1] != "<" and not _is_machinery(each.path)]
    own = [each for each in real if not set(_INSTALLED) & set(each.path.parts)]
    return next(iter(own or real), None)


def _is_machinery(path: Path) -> bool:
    """Whether a file is ours, torch's or Python's own, and so of no model."""
    if any(path.is_relative_to(folder) for folder in _OURS):
        return True
    return any(path.is_relative_to(folder) for folder in _PYTHON) and not set(_INSTALLED) & set(path.parts)

"""A kind of name for a model, and what is refused of it before anything heavy is imported."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mptq_export.load.request import ModelRequest

ENDING = ".mptq.onnx"
"""Of the file that an export writes where it is not named."""
_ENDINGS = (".pth.tar", ".safetensors.index.json", ".bin.index.json")
"""Of checkpoints, besides the last suffix of any."""


def output_beside(name: str) -> Path:
    """Where the export of a path is written: beside it, under its name without the ending; a folder has none."""
    path = Path(name)
    if path.is_dir():
        folder = path.resolve() if path.name in ("", "..") else path
        return folder.parent / f"{folder.name or 'model'}{ENDING}"
    ending = next((ending for ending in _ENDINGS if path.name.endswith(ending)), path.suffix)
    return path.parent / (path.name.removesuffix(ending) + ENDING)


@dataclass(frozen=True)
class Door:
    """One kind of name: a file, a folder of a library, ``NAME:...``. It imports no torch and no library.

    Attributes:
        takes: whether a request is of this kind, by the name or by a look at the disk.
        check: raises `MptqError` for what a look at the disk, or at what is installed, shows to be wrong.
        output: where the export of a name is written if nothing else is said.
    """

    takes: Callable[[ModelRequest], bool]
    check: Callable[[ModelRequest], None] = lambda _: None
    output: Callable[[str], Path] = output_beside

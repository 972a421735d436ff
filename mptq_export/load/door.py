"""A kind of name for a model, and what is refused of it before anything heavy is imported."""

from collections.abc import Callable
from dataclasses import dataclass

from mptq_export.load.request import ModelRequest


@dataclass(frozen=True)
class Door:
    """One kind of name: a file, a folder of a library, ``NAME:...``. It imports no torch and no library.

    Attributes:
        takes: whether a request is of this kind, by the name or by a look at the disk.
        check: raises `MptqError` for what a look at the disk, or at what is installed, shows to be wrong.
    """

    takes: Callable[[ModelRequest], bool]
    check: Callable[[ModelRequest], None] = lambda _: None

"""Atomic file output: a reader sees the old file or the whole new one, never a part."""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mptq_export.errors import MptqError


def check_writable(path: Path, *, force: bool) -> None:
    """Refuse early an output that could not be written at the end.

    Args:
        path: the file that will be written.
        force: whether an existing file may be replaced.

    Raises:
        MptqError: the folder is missing or not writable, `path` is a folder, or the file exists and `force` is off.
    """
    folder = path.parent
    if not folder.is_dir():
        raise MptqError(f"cannot write {path}: the folder {folder} does not exist; create it or choose another -o")
    if path.is_dir():
        raise MptqError(f"cannot write {path}: it is a folder; name a file")
    if path.exists() and not force:
        raise MptqError(f"{path} exists already; pass --force to replace it or choose another -o")
    try:
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise MptqError(f"cannot write {path}: {error.strerror}; choose a writable folder with -o") from error


def write_atomic(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it into place.

    Args:
        path: the final file; replaced if it exists.
        write: called once with the temporary path, which has the same suffix as `path`.

    Raises:
        MptqError: the disk is full, or the folder cannot be written.
    """
    write_together({path: write})


def write_together(writers: Mapping[Path, Callable[[Path], None]]) -> None:
    """Write several files that belong together: none appears before all of them are complete.

    Args:
        writers: for every final path, what `write_atomic` takes.

    Raises:
        MptqError: the disk is full, or a folder cannot be written.
    """
    temporaries = {path: path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}") for path in writers}
    try:
        for path, write in writers.items():
            with _named(path):
                write(temporaries[path])
                with temporaries[path].open("rb+") as stream:
                    os.fsync(stream.fileno())
        for path, temporary in temporaries.items():
            with _named(path):
                temporary.replace(path)
    finally:
        for temporary in temporaries.values():
            temporary.unlink(missing_ok=True)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn a failure of the system into one line with the path."""
    try:
        yield
    except OSError as error:
        raise MptqError(f"cannot write {path}: {error.strerror or error}; free space or choose another -o") from error

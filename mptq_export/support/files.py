"""Atomic file output: a reader sees the old file or the whole new one, never a part."""

import glob
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from mptq_export.support.errors import MptqError

_LEFT_OVER_SECONDS = 3600


def check_writable(path: Path, *, force: bool) -> None:
    """Refuse early an output that could not be written at the end.

    Args:
        path: the file that will be written.
        force: whether an existing file may be replaced.

    Raises:
        MptqError: the folder is not writable or cannot be made, `path` is a folder, or the file exists and `force` is
            off.
    """
    folder = next(each for each in path.absolute().parents if each.exists())  # those below it will be made
    if not folder.is_dir():
        raise MptqError(f"cannot write {path}: {folder} is a file, not a folder; choose another -o")
    if path.is_dir():
        raise MptqError(f"cannot write {path}: it is a folder; name a file")
    if path.exists() and not force:
        raise MptqError(f"{path} exists already; pass --force to replace it or choose another -o")
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix="."):
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


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, as `write_atomic`."""

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    write_atomic(path, write)


def write_together(writers: Mapping[Path, Callable[[Path], None]], *, force: bool = True) -> None:
    """Write several files that belong together: none appears before all of them are complete.

    The first one appears last: where it is, the others are. Two programs that write the same files at once do it one
    after the other, so that the files of one of them remain.

    Args:
        writers: for every final path, what `write_atomic` takes; all in one folder.
        force: replace files that are there, even those that appeared since `check_writable`.

    Raises:
        MptqError: the disk is full, a folder cannot be written, or a file exists and `force` is off.
    """
    temporaries = {path: path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}") for path in writers}
    try:
        for path, write in writers.items():
            with _named(path, temporaries[path]):
                path.parent.mkdir(parents=True, exist_ok=True)
                _remove_left_over(path)
                temporaries[path].touch()
                mode = temporaries[path].stat().st_mode
                write(temporaries[path])
                temporaries[path].chmod(mode)  # safetensors makes its files private
                with temporaries[path].open("rb+") as stream:
                    os.fsync(stream.fileno())
        with _one_at_a_time(next(iter(writers)).parent):
            for path in writers:
                if path.exists() and not force:
                    raise MptqError(f"{path} appeared while this ran; pass --force to replace it or choose another -o")
            for path, temporary in reversed(temporaries.items()):
                with _named(path):
                    temporary.replace(path)
    finally:
        for temporary in temporaries.values():
            temporary.unlink(missing_ok=True)


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Hold a lock on a folder while files in it are replaced, and make that last; Windows knows neither."""
    if os.name != "posix":
        yield
        return
    import fcntl  # noqa: PLC0415 - Windows has none

    with _named(folder):
        descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_left_over(path: Path) -> None:
    """Remove what writers of `path` left behind when they were killed, an hour ago or more."""
    for temporary in path.parent.glob(f".{glob.escape(path.stem)}.*.part{glob.escape(path.suffix)}"):
        with suppress(OSError):
            if time.time() - temporary.stat().st_mtime > _LEFT_OVER_SECONDS:
                temporary.unlink()


def under_name(text: str, temporary: Path, name: str) -> str:
    """A message about a temporary file as one about the file that it will be.

    Args:
        text: the message.
        temporary: what it may name.
        name: what it shall name instead.
    """
    return text.replace(str(temporary), name).replace(temporary.name, Path(name).name)


@contextmanager
def _named(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Turn a failure into one line with the path, not with that of the temporary file."""
    try:
        yield
    except MptqError as error:
        if temporary is None or temporary.name not in str(error):
            raise
        raise MptqError(under_name(str(error), temporary, str(path))) from error
    except OSError as error:
        raise MptqError(f"cannot write {path}: {error.strerror or error}; free space or choose another -o") from error

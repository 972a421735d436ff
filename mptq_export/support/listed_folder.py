"""Folders that list their own files, such as a kit: a new one appears whole, in an old one the list is put in last."""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mptq_export.support.errors import MptqError


@dataclass(frozen=True)
class ListedFolder:
    """A kind of folder.

    Attributes:
        what: its kind, for messages: `kit`, of the option `--kit`.
        index: the file with the list.
        listed: the files that the list of a folder names; raises OSError or ValueError where it is none of this kind.
    """

    what: str
    index: str
    listed: Callable[[Path], set[str]]

    @property
    def option(self) -> str:
        """The option that names one."""
        return f"--{self.what}"

    def check(self, folder: Path, *, force: bool, outside: tuple[Path, ...] = ()) -> None:
        """Refuse early a folder that could not be written at the end.

        Args:
            folder: where it will be; folders above it that are missing will be made.
            force: whether one that is there may be replaced.
            outside: other outputs, which must not lie in it.

        Raises:
            MptqError: it or a folder above it is a file or not writable, or it holds something and `force` is off; or
                what it holds is not of this kind, which is never replaced.
        """
        option, what = self.option, self.what
        inside = [path for path in outside if folder.resolve() in (path.resolve(), *path.resolve().parents)]
        if inside:
            raise MptqError(
                f"{option} {folder} would hold {inside[0]} too: the {what} has its own copy; choose another folder"
            )
        if folder.exists() and not folder.is_dir():
            raise MptqError(f"cannot write {option} {folder}: it is a file; name a folder")
        if folder.is_dir() and any(folder.iterdir()):
            if not force:
                raise MptqError(
                    f"{option} {folder} is not empty; pass --force to replace the {what}, or choose another folder"
                )
            if not self._files_of(folder):
                raise MptqError(
                    f"{option} {folder} is not empty and holds no {what}; --force replaces {what}s only: choose another"
                )
        near = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        if not near.is_dir():
            raise MptqError(f"cannot write {option} {folder}: {near} is a file; choose another folder")
        if not os.access(near, os.W_OK | os.X_OK):
            raise MptqError(f"cannot write {option} {folder}: {near} is not writable; choose another folder")

    def write(self, folder: Path, files: Mapping[str, bytes]) -> None:
        """Write all files; other files of the folder stay, but those that the old list names and the new one lacks go.

        Args:
            folder: checked by `check`.
            files: bytes by path in the folder; the list is put in place last.

        Raises:
            MptqError: the disk is full, or the folder cannot be written; a new folder does not appear then.
        """
        temporary = folder.absolute().with_name(f".{folder.absolute().name}.{os.getpid()}.part")
        try:
            for name, data in files.items():
                (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                (temporary / name).write_bytes(data)
            if not folder.exists() or not any(folder.iterdir()):
                temporary.replace(folder)
                return
            stale = self._files_of(folder) - files.keys()
            for name in sorted(files, key=lambda name: name == self.index):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (temporary / name).replace(folder / name)
            for name in stale:
                (folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise MptqError(
                f"cannot write {self.option} {folder}: {error.strerror or error}; choose another folder"
            ) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _files_of(self, folder: Path) -> set[str]:
        """Files that the folder's list names; empty if it is not of this kind."""
        try:
            names = self.listed(folder)
        except (OSError, ValueError):
            return set()
        return {name for name in names if ".." not in Path(name).parts and not Path(name).is_absolute()}

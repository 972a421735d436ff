"""Writing a folder of files: a new one appears whole; in an old kit the manifest is replaced last."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from mptq_export.kit.manifest import KIND, MANIFEST, PORTABLE_KIND, Listing
from mptq_export.support.errors import MptqError
from mptq_export.support.json_files import read_json


def check_kit_folder(folder: Path, *, force: bool, outside: tuple[Path, ...] = ()) -> None:
    """Refuse early a folder that could not be written at the end.

    Args:
        folder: where the kit will be; folders above it that are missing will be made.
        force: whether a kit that is there may be replaced.
        outside: other outputs, which must not lie in it.

    Raises:
        MptqError: it or a folder above it is a file or not writable, or it holds something and `force` is off; or what
            it holds is no kit, which is never replaced.
    """
    inside = [path for path in outside if folder.resolve() in path.resolve().parents]
    if inside:
        raise MptqError(f"--kit {folder} would hold {inside[0]} too: the kit has its own copy; choose another folder")
    if folder.exists() and not folder.is_dir():
        raise MptqError(f"cannot write --kit {folder}: it is a file; name a folder")
    if folder.is_dir() and any(folder.iterdir()):
        if not force:
            raise MptqError(f"--kit {folder} is not empty; pass --force to replace the kit, or choose another folder")
        if not _files_of(folder):
            raise MptqError(f"--kit {folder} is not empty and holds no kit; --force replaces kits only: choose another")
    near = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not near.is_dir():
        raise MptqError(f"cannot write --kit {folder}: {near} is a file; choose another folder")
    if not os.access(near, os.W_OK | os.X_OK):
        raise MptqError(f"cannot write --kit {folder}: {near} is not writable; choose another folder")


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write all files; other files of the folder stay, but those of an old kit that the new one lacks go.

    Args:
        folder: checked by `check_kit_folder`.
        files: bytes by path in the folder; the manifest is put in place last.

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
        stale = _files_of(folder) - files.keys()
        for name in sorted(files, key=lambda name: name == MANIFEST):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (temporary / name).replace(folder / name)
        for name in stale:
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise MptqError(f"cannot write --kit {folder}: {error.strerror or error}; choose another folder") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _files_of(folder: Path) -> set[str]:
    """Golden files that the folder's manifest lists; empty if the folder is no kit."""
    try:
        listing = read_json(folder / MANIFEST, Listing)
    except (OSError, ValueError):
        return set()
    names = {entry.file for entry in listing.files} if listing.kind in (KIND, PORTABLE_KIND) else set()
    return {name for name in names if ".." not in Path(name).parts and not Path(name).is_absolute()}

"""The images of a folder: which files count, which folders are none, and links that lead back."""

import os
from collections.abc import Iterator
from pathlib import Path

from mptq_export.support.errors import MptqError

_IMAGES = frozenset(
    (
        *(".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".tga", ".jp2", ".avif"),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
        # Images too, which Pillow alone does not read: they are counted as left out, not overlooked.
        *(".heic", ".heif", ".jxl", ".exr", ".hdr", ".dcm", ".dng", ".cr2", ".cr3", ".nef", ".arw"),
    )
)
_NO_DATA = frozenset(("__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found"))
"""Folders, in lower case, that archives, file servers and file systems leave in a data set."""


def find_images(path: Path) -> list[Path]:
    """The files of a folder and of its subfolders that are images by their names, sorted by path.

    Hidden files and folders, and those that archivers and file servers leave behind (`__MACOSX`, `@eaDir`,
    `lost+found` ...) are passed by. Links are followed, but below one folder of the first level every folder is walked
    once: a folder that is linked into itself does not repeat.

    Raises:
        MptqError: the folder is missing, no folder, unreadable, or holds no images.
    """
    if not path.exists():
        raise MptqError(f"image folder {path} does not exist; check the path")
    if not path.is_dir():
        raise MptqError(f"{path} is not a folder; name a folder of images")
    found = sorted(file for file in _files(path) if file.suffix.lower() in _IMAGES)
    if not found:
        raise MptqError(f"no images in {path} (.png, .jpg, .webp, .tif ...); name a folder that holds some")
    return found


def _files(root: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise MptqError(f"cannot read image folder {error.filename}: {error.strerror}; check its permissions")

    walked = {("", os.path.realpath(root))}
    for folder, folders, names in os.walk(root, onerror=refuse, followlinks=True):
        inside = Path(folder)
        kept = []
        for name in sorted(folders):
            first = name if inside == root else inside.relative_to(root).parts[0]
            real = os.path.realpath(inside / name)
            if is_no_data(name) or ("", real) in walked or (first, real) in walked:
                continue
            walked.add((first, real))
            kept.append(name)
        folders[:] = kept
        yield from (inside / name for name in names if not name.startswith("."))


def is_no_data(name: str) -> bool:
    """Whether a folder of this name holds no images of a data set."""
    return name.startswith(".") or name.lower() in _NO_DATA

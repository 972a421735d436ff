"""What a path is, told by its content and not by its name, before anything heavy is imported and no weight is read."""

import enum
import pickletools
import struct
import tarfile
import zipfile
from itertools import islice
from pathlib import Path

from mptq_export.support.errors import MptqError


class Content(enum.Enum):
    """What a path holds."""

    MISSING = "nothing"
    FOLDER = "a folder"
    TORCH_ZIP = "an archive of torch.save"
    TORCH_LEGACY = "a file of torch.save in its old format"
    PICKLE = "a pickle"
    SAFETENSORS = "safetensors"
    NPZ = "an archive of NumPy arrays"
    INDEX = "the index of a checkpoint in shards"
    TORCHSCRIPT = "a TorchScript archive"
    PROGRAM = "a program of torch.export"
    OTHER = "something else"


_ZIP = b"PK\x03\x04"
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""The pickled number with which torch's old format begins."""
_LARGEST_HEADER = 100 * 2**20
"""Of safetensors, as its own reader has it."""
_LARGEST_INDEX = 16 * 2**20
_LOOKED_AT = 64
"""Steps of a pickle without a header by which it is told from a text."""


def content_of(path: Path) -> Content:
    """What a path holds.

    Raises:
        MptqError: it may not be read.
    """
    if path.is_dir():
        return Content.FOLDER
    if not path.is_file():
        return Content.MISSING
    try:
        with path.open("rb") as stream:
            start = stream.read(2**12)
        if start.startswith(_ZIP):
            return _of_archive(path)
        if _is_tar(path):  # torch would unpack one, whatever it begins with
            return Content.OTHER
    except OSError as error:
        raise MptqError(f"{path} cannot be read ({error.strerror}); check its permissions") from error
    if start.startswith(LEGACY):
        return Content.TORCH_LEGACY
    if len(start) > 8 and start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= _LARGEST_HEADER:
        return Content.SAFETENSORS
    if start.lstrip().startswith(b"{") and b'"weight_map"' in _text(path):
        return Content.INDEX
    return Content.PICKLE if _is_pickle(start) else Content.OTHER


def _of_archive(path: Path) -> Content:
    """Which of torch's archives a zip is; one that is cut short is torch's, whose reader says so."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error):
        return Content.TORCH_ZIP
    last = {name.rpartition("/")[2] for name in names}
    if "constants.pkl" in last:
        return Content.TORCHSCRIPT
    if last & {"archive_format", "serialized_exported_program.json"}:
        return Content.PROGRAM
    if names and all(name.endswith(".npy") for name in names):
        return Content.NPZ
    return Content.TORCH_ZIP if "data.pkl" in last else Content.OTHER


def _is_tar(path: Path) -> bool:
    try:
        with tarfile.open(path, "r:"):
            return True
    except (tarfile.TarError, ValueError, EOFError, OverflowError):
        return False


def _text(path: Path) -> bytes:
    return path.read_bytes() if path.stat().st_size <= _LARGEST_INDEX else b""


def _is_pickle(start: bytes) -> bool:
    """Whether a file begins as a pickle does: with a header, or by steps that a pickle without one has."""
    if start[:1] == b"\x80":
        return start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")
    try:
        steps = [opcode.name for opcode, _, _ in islice(pickletools.genops(start), _LOOKED_AT)]
    except ValueError:
        return False
    return len(steps) == _LOOKED_AT or steps[-1] == "STOP"

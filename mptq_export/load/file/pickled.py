"""What `torch.save` or `pickle.dump` wrote, without running what is in it.

torch's own restricted unpickler reads what it takes. What it refuses for a name that it does not know (a path, an
array, a configuration, a class of the user beside the weights) is read by `inert_pickle`, where no name does anything.
"""

import argparse
import pickle
import struct
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mptq_export.load.file import inert_pickle
from mptq_export.load.file.content import Content
from mptq_export.load.file.door import TORCHSCRIPT
from mptq_export.load.file.inert_pickle import HarmfulPickleError
from mptq_export.support.errors import MptqError

#: Plain data that training scripts store beside the weights; none of it can run code.
_PLAIN_DATA: list[Any] = [
    argparse.Namespace,
    np.dtype,
    np._core.multiarray.scalar,  # type: ignore[attr-defined]
    *{type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int32, np.int64, np.bool_)},
]


def read_pickled(path: Path, content: Content, *, trust: bool = False) -> Any:
    """The object in a file, where whatever is neither a tensor nor plain data is a `plain_makers.StandIn`.

    Args:
        path: the file.
        content: what it is: an archive, torch's old format, or a plain pickle.
        trust: whether the file may run code; then it holds what it says.

    Raises:
        MptqError: the file is truncated or corrupt, or it asks for code that no data needs.
    """
    if content is Content.TORCH_ZIP:
        _check_stored(path)
    try:
        if trust:
            return _trusted(path, content)
        if content is Content.PICKLE:
            with path.open("rb") as stream:
                return inert_pickle.load(stream)
        try:
            with torch.serialization.safe_globals(_PLAIN_DATA), warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of pickles that it then refuses
                return _load(path, content, weights_only=True)
        except pickle.UnpicklingError:
            # Without `weights_only` torch would hand a TorchScript archive to torch.jit: `_check_stored` refused it.
            return _load(path, content, weights_only=False, pickle_module=inert_pickle)
    except MptqError:
        raise
    except HarmfulPickleError as error:
        raise MptqError(f"{path} {would_run(str(error))}") from error
    except (ImportError, AttributeError) as error:
        if not trust:
            raise MptqError(f"{path} {_unreadable(error)}") from error
        raise MptqError(f"{path} needs code that is not installed here ({error}); save a state_dict instead") from error
    except Exception as error:
        raise MptqError(f"{path} {_unreadable(error)}") from error


def would_run(name: str) -> str:
    """What is said of a file that is nothing without code of its own.

    Args:
        name: of the code.
    """
    return (
        f"would run code when it is opened (it needs {name}); save a state_dict instead, or pass --trust only if you "
        "trust the file"
    )


def _load(path: Path, content: Content, **how: Any) -> Any:
    """`torch.load` of a path: mapped into memory, an archive cannot make it read beyond its end.

    It takes a file for safetensors by its name alone: such a name is not shown to it.
    """
    mmap = content is Content.TORCH_ZIP
    if path.suffix != ".safetensors":
        return torch.load(path, map_location="cpu", mmap=mmap, **how)
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder, "checkpoint.pt")
        try:
            link.symlink_to(path.resolve())
        except OSError as error:
            raise MptqError(f"{path} is a file of torch.save; rename it to end in .pt") from error
        return torch.load(link, map_location="cpu", mmap=mmap, **how)


def _trusted(path: Path, content: Content) -> Any:
    if content is Content.PICKLE:
        with path.open("rb") as stream:
            return pickle.load(stream)
    return _load(path, content, weights_only=False)


def _check_stored(path: Path) -> None:
    """Refuse an archive whose parts are larger than itself: PyTorch stores them as they are, a bomb packs them."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > path.stat().st_size:
            raise MptqError(f"{path} holds parts of {size:,} bytes, more than the file; save it with torch.save")
        records = torch._C.PyTorchFileReader(str(path)).get_all_records()  # what torch.load sees
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError, struct.error) as error:
        raise MptqError(f"{path} {_unreadable(error)}") from error
    if "constants.pkl" in records:
        raise MptqError(f"{path} {TORCHSCRIPT}")


def _unreadable(error: Exception) -> str:
    reason = (str(error) or "it ends too early").split(". ", maxsplit=1)[0]
    if isinstance(error, LookupError | TypeError | AttributeError):
        reason = "it is not in PyTorch's format"
    return f"cannot be read ({reason}); it is truncated or corrupt, get the file again"

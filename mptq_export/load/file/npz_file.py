"""An archive of NumPy arrays (`.npz`), as JAX and Flax models are published."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mptq_export.support.errors import MptqError

_MOST = 4
"""How many times its size a file may unpack to; weights hardly pack."""


def read_npz(path: Path) -> dict[str, Any]:
    """The arrays as tensors under `state_dict`; nothing is unpickled.

    Raises:
        MptqError: the file is truncated or corrupt, unpacks to much more than itself, or holds what is no number.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > _MOST * path.stat().st_size:
            raise MptqError(f"{path} holds arrays of {size:,} bytes, far more than the file; save it with numpy.savez")
        with np.load(path, allow_pickle=False) as arrays:
            named = {name: arrays[name] for name in arrays.files}
    except MptqError:
        raise
    except Exception as error:  # of the archive, of what packs it, or of an array's header
        raise MptqError(f"{path} cannot be read as .npz ({error}); it is truncated, corrupt or pickled") from error
    other = next((name for name, array in named.items() if array.dtype.kind not in "fiu"), None)
    if other is not None:
        raise MptqError(f"{path}: array {other} is of {named[other].dtype}, no kind of number; save it as float32")
    return {"state_dict": {name: torch.from_numpy(np.array(array)) for name, array in named.items()}}

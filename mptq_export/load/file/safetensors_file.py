"""A file of safetensors: its tensors, and what its metadata says of them."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from mptq_export.support.errors import MptqError


def read_safetensors(path: Path) -> dict[str, Any]:
    """The tensors under `state_dict`, and the metadata beside it; what has a structure there is JSON.

    Raises:
        MptqError: the file is truncated or corrupt, or something in its metadata is not JSON.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        raise MptqError(f"{path} cannot be read as safetensors ({error}); it is truncated or corrupt") from error
    for key in ("model_kwargs", "pretrained_cfg", "preprocessing", "class_names", "args"):
        if key in metadata:
            try:
                metadata[key] = json.loads(metadata[key])
            except (ValueError, RecursionError) as error:
                raise MptqError(
                    f"{path}: the metadata's {key} is not JSON ({error}); write it with json.dumps"
                ) from error
    return {**metadata, "state_dict": tensors}

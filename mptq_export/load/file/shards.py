"""A checkpoint in shards: an index says which file beside it holds which tensor."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from mptq_export.support.errors import MptqError

_MEND = "get the whole folder again"


def read_shards(index: Path, read: Callable[[Path], Any]) -> dict[str, Tensor]:
    """All tensors of all shards.

    Args:
        index: such as `model.safetensors.index.json`.
        read: a shard, as a state dict, bare or under `state_dict`.

    Raises:
        MptqError: the index is none, names a file outside its folder or one that is not there, or does not list what
            the shards hold.
    """
    places = _places(index)
    tensors: dict[str, Tensor] = {}
    for file in sorted(set(places.values())):
        path = index.parent / file
        if not path.is_file():
            raise MptqError(f"{index} needs {file}, which is not beside it; {_MEND}")
        content = read(path)
        held = content.get("state_dict", content) if isinstance(content, dict) else {}
        listed = {name for name, place in places.items() if place == file}
        for names, what in ((listed - held.keys(), "lacks"), (held.keys() - listed, "also holds")):
            if names:
                raise MptqError(f"{path} {what} {min(map(str, names))}, other than {index.name} says; {_MEND}")
        tensors |= held
    return tensors


def _places(index: Path) -> dict[str, str]:
    """The file of every tensor."""
    try:
        stored = json.loads(index.read_text(encoding="utf-8"))
        places = stored["weight_map"]
        known = isinstance(places, dict) and all(isinstance(file, str) for file in places.values())
    except (OSError, ValueError, RecursionError, LookupError, TypeError) as error:
        raise MptqError(f"{index} is no index of shards ({type(error).__name__}); {_MEND}") from error
    if not known or not places:
        raise MptqError(f"{index} is no index of shards: its weight_map names no files; {_MEND}")
    for file in places.values():
        if Path(file).name != file or "\\" in file or file in ("", ".", ".."):
            raise MptqError(f"{index} names {file!r}, which is not a file beside it; it may name no other")
    return dict(places)

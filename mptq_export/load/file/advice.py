"""What a checkpoint that does not fit probably is, and what its owner can do: a sentence, or nothing."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from mptq_export.load.timm.config_json import is_timm_config
from mptq_export.load.transformers.names import are_of_transformers

_WRAPPER = "module."
_SHOWN = 3
_FIRST = "patch_embed.proj.weight"
"""A name that nearly every vision transformer of timm has: what stands before it is a prefix."""
_MOST = 0.8
"""Share of the model's names that a prefix has to explain."""
_LARGEST_CONFIG = 2**20


def advice(path: Path, names: Collection[str], wanted: Collection[str] = ()) -> str:
    """What to do, with a space before it; empty where nothing is known.

    Args:
        path: the checkpoint.
        names: of its tensors.
        wanted: of the model's tensors; empty where no model is known.
    """
    if are_of_transformers(names):
        return (
            " Its names are those of Hugging Face transformers: put the model's config.json and "
            "preprocessor_config.json beside it (for the second --mean and --std will do), and leave --arch out."
        )
    prefix = _prefix(names, wanted)
    if prefix:
        others = [name for name in names if not name.startswith(prefix)]
        also = f", but not {', '.join(others[:_SHOWN])}" if others else ""
        more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        return f" Its names begin with {prefix!r}{also}{more}: save the state dict of that part alone."
    if any(f".{_WRAPPER}" in name for name in names):
        return f" Some of its names hold {_WRAPPER!r}: save the state dict without it."
    return beside(path)


def _prefix(names: Collection[str], wanted: Collection[str]) -> str:
    firsts = [name.removesuffix(_FIRST) for name in names if name.endswith("." + _FIRST)]
    if wanted:
        known = set(wanted)
        heads = {name.removesuffix(first) for first in list(wanted)[:3] for name in names if name.endswith("." + first)}
        firsts = [p for p in heads | set(firsts) if sum(p + name in names for name in known) > _MOST * len(known)]
    return min(firsts, key=len, default="")


def folder_config(folder: Path, name: str = "config.json") -> dict[str, Any]:
    """The config.json of timm or transformers in a folder; empty where there is none that can be read."""
    path = folder / name
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST_CONFIG:
            return {}
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def beside(path: Path) -> str:
    """What the config.json in the folder of a checkpoint says and is not read."""
    config = folder_config(path.parent)
    if is_timm_config(config) or not isinstance(config.get("architectures"), list):
        return ""
    return " The config.json beside it is not read: pass --mean, --std and what else it says of the input."

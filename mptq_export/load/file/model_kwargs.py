"""Arguments of a model that a checkpoint holds: a stranger's words to timm, so only numbers and names get through."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mptq_export.support.errors import MptqError

#: They make timm read other files, ask the network or import what they name.
_FORBIDDEN = frozenset(
    {"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_strict", "checkpoint_path", "cache_dir"}
    | {"features_only", "out_indices", "scriptable", "exportable", "no_jit", "kwargs_filter", "feature_cfg"}
)
#: Sizes of real models are far below, and a model that is not is never built.
_LARGEST = 2**16
_LONGEST_TEXT = 200
_COUNTS_MODULES = re.compile("depth|layers|blocks")
_MOST_VALUES = 200


def check_model_kwargs(path: Path, model_kwargs: Mapping[Any, Any], tensors: int, said: str = "model_kwargs") -> None:
    """Refuse what no checkpoint needs to say.

    Args:
        path: the checkpoint, for the message.
        model_kwargs: its arguments for `timm.create_model`.
        tensors: number of its tensors: no model has more blocks.
        said: what of the checkpoint has them, for the message.

    Raises:
        MptqError: one of them is not a plain value, has an absurd size, or makes timm read something else.
    """
    left = _MOST_VALUES
    values: list[tuple[Any, Any]] = list(model_kwargs.items())
    advice = "save the checkpoint without it, and give it with --model-kwargs if you trust it"
    while values:
        key, value = values.pop()
        left -= 1
        name = key if isinstance(key, str) else type(key).__name__
        if not isinstance(key, str) or key in _FORBIDDEN or left < 0:
            raise MptqError(f"{path}: its {said} have {name[:40]!r}, which a checkpoint may not decide; {advice}")
        if isinstance(value, list | tuple) and len(value) <= left:
            values += [(key, item) for item in value]
        elif isinstance(value, dict) and len(value) <= left:
            values += value.items()
        elif not _is_plain(value, tensors if _COUNTS_MODULES.search(key) else _LARGEST):
            raise MptqError(f"{path}: its {said} give {name[:40]!r} a value that no model has; {advice}")


def _is_plain(value: object, largest: int) -> bool:
    if isinstance(value, int | float):
        return -largest <= value <= largest
    return value is None or (isinstance(value, str) and len(value) <= _LONGEST_TEXT)

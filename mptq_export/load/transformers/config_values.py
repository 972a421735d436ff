"""A stranger's config.json: a model that no file can hold is never built, and nothing else is opened."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mptq_export.support.errors import MptqError

_LARGEST = 2**20
_MOST_VALUES = 20_000
_COUNTS_MODULES = re.compile("depth|layers|blocks|stages")
_NO_SIZES = frozenset({"id2label", "label2id", "text_config", "task_specific_params"})
"""What no vision model is built from: names of classes, and the text tower, which is left out."""
_OPENS = re.compile("attn_implementation|^transformers_weights$")
"""They name kernels of a hub, or another file of weights."""
_ATTENTION = (None, "eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention")


def check_config(path: Path, config: Mapping[str, Any], tensors: int | None) -> None:
    """Refuse sizes that no model has, and names of code and files.

    Args:
        path: of the file, for the message.
        config: what it says.
        tensors: how many the weights have: no model has more blocks. None: nobody counted.

    Raises:
        MptqError: a number is absurd, there are too many values, or one of them names what is to be opened.
    """
    values: list[tuple[str, Any]] = [(key, value) for key, value in config.items() if key not in _NO_SIZES]
    left = _MOST_VALUES
    while values:
        key, value = values.pop()
        left -= 1
        if _OPENS.search(key) and not isinstance(value, bool) and (value not in _ATTENTION or "weights" in key):
            raise MptqError(f"{path}: {key[:40]} names what else is to be opened, which is never done; take it out")
        if isinstance(value, Mapping):
            values += [(str(inner), each) for inner, each in value.items() if inner not in _NO_SIZES]
        elif isinstance(value, list):
            values += [(key, each) for each in value[: left + 1]]
        elif isinstance(value, int | float) and not isinstance(value, bool):
            counts = tensors is not None and _COUNTS_MODULES.search(key) is not None
            most = tensors if counts and tensors is not None else _LARGEST
            if not -most <= value <= most:
                raise MptqError(f"{path}: {key[:40]} is a number that no model with these weights has; get it again")
        if left < 0:
            raise MptqError(f"{path} has more values than any model needs; get the file again")

"""Where the weights stand in what a file holds: they are the file itself, or lie under one of its keys."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mptq_export.load.file.float_weights import PIECES, check_names
from mptq_export.load.file.pickled import would_run
from mptq_export.load.file.plain_makers import StandIn
from mptq_export.support.errors import MptqError

_AVERAGES = (
    *("state_dict_ema", "model_ema", "ema", "ema_state_dict", "model_ema_state_dict", "ema_model", "params_ema"),
)
KEYS = (
    *_AVERAGES,
    *("state_dict", "model", "model_state_dict", "model_state", "net", "network", "weights", "params", "module"),
    *("teacher", "student"),
)
"""Keys of weights, the first to be taken: averages come first, as in timm; a teacher is the average of its student."""
_INSIDE = ("state_dict", "module", "model", "model_state_dict")
"""Keys within the value of such a key."""
PARTITIONED = (
    "is one of several files of DeepSpeed, with partitioned weights; join them: python zero_to_fp32.py FOLDER OUT"
)
_EXTRA = (bool, int, float, str, bytes, type(None))


@dataclass(frozen=True)
class Weights:
    """What was found.

    Attributes:
        tensors: as stored; empty where a module was found.
        module: the pickled module, with --trust.
        entry: the key, or two with a dot between; empty where the file is nothing else.
        averaged: whether the key is that of an average over training steps.
        passed_over: other keys that hold weights.
        left: names among the tensors that hold something else.
    """

    tensors: Mapping[str, Tensor]
    module: nn.Module | None = None
    entry: str = ""
    averaged: bool = False
    passed_over: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


def find_weights(path: Path, content: Any) -> Weights:
    """The weights in the contents of a file.

    Args:
        path: the file, for messages.
        content: what was unpickled, or read of safetensors.

    Raises:
        MptqError: it holds none, or none but those of code that was not run.
    """
    if isinstance(content, nn.Module):
        return Weights({}, _bare(content))
    if isinstance(content, Mapping):
        held = {key: found for key in content if (found := _held(content[key])) is not None}
        known = [key for key in KEYS if key in held]
        others = [key for key in held if key not in KEYS and isinstance(key, str)]
        if known or (len(others) == 1 and _state_dict(content) is None):
            entry = (known or others)[0]
            inner, value = held[entry]
            passed_over = tuple(key for key in (*known, *others) if key != entry)
            if "ds_version" in content and _is_empty(value):
                raise MptqError(f"{path} {PARTITIONED}")
            return _weights(value, ".".join(filter(None, (entry, inner))), passed_over)
        whole = _state_dict(content)
        if whole is not None:
            return _weights(content, "", ())
        if others:
            raise MptqError(
                f"{path} holds several state dicts ({', '.join(each[:40] for each in others[:5])}); save the one of "
                "the model alone"
            )
        for place in (content, *(content[key] for key in KEYS if isinstance(content.get(key), Mapping))):
            check_names(path, [name for name in place if isinstance(name, str)])
    raise MptqError(f"{path} {_nothing(content)}")


def _bare(module: nn.Module) -> nn.Module:
    return module.module if isinstance(module, nn.DataParallel) else module


def _held(value: Any) -> tuple[str, Any] | None:
    """A module or a state dict, which may lie one level deeper, with the inner key."""
    if isinstance(value, nn.Module) or _state_dict(value) is not None:
        return "", value
    if isinstance(value, Mapping):
        for key in _INSIDE:
            inner = value.get(key)
            if isinstance(inner, nn.Module) or _state_dict(inner) is not None:
                return key, inner
    return None


def _weights(value: Any, entry: str, passed_over: tuple[str, ...]) -> Weights:
    averaged = entry.partition(".")[0] in _AVERAGES
    if isinstance(value, nn.Module):
        return Weights({}, _bare(value), entry, averaged, passed_over)
    tensors = _state_dict(value) or {}
    return Weights(tensors, None, entry, averaged, passed_over, tuple(name for name in value if name not in tensors))


def _state_dict(value: Any) -> dict[str, Tensor] | None:
    """The tensors of a state dict; None for what is none.

    A few plain values among them are left (`epoch`, an `_extra_state`); anything else means that it is no state dict.
    """
    if not isinstance(value, Mapping) or not value:
        return None
    tensors: dict[str, Tensor] = {}
    for name, held in value.items():
        tensor = _tensor(held)
        if not isinstance(name, str) or (tensor is None and not isinstance(held, _EXTRA)):
            return None
        if tensor is not None:
            tensors[name] = tensor
    return tensors if 2 * len(tensors) > len(value) else None


def _is_empty(value: Any) -> bool:
    """Whether weights are but placeholders: another file has them."""
    tensors = _state_dict(value)
    return tensors is not None and all(tensor.numel() == 0 for tensor in tensors.values())


def _tensor(value: Any) -> Tensor | None:
    if isinstance(value, Tensor):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        return torch.from_numpy(np.array(value))
    return None


def _nothing(content: Any) -> str:
    """What is said of a file without a state dict."""
    if isinstance(content, Mapping) and "ds_version" in content:
        return PARTITIONED
    stand_in = next(_stand_ins(content), None)
    if stand_in is not None and stand_in.name.startswith("torch.distributed"):
        return PIECES
    if stand_in is not None:
        return would_run(stand_in.name)
    held = type(content).__name__
    if isinstance(content, Mapping) and content:
        held = ", ".join(key[:40] if isinstance(key, str) else type(key).__name__ for key in islice(content, 5))
    return f"holds no state dict (found: {held}); save one bare, or under state_dict"


def _stand_ins(content: Any) -> Iterator[StandIn]:
    """What was not made where weights are looked for, the likeliest place first."""
    places = [content]
    if isinstance(content, Mapping):
        first = [content[key] for key in KEYS if key in content]
        inside = [value for held in first if isinstance(held, Mapping) for value in held.values()]
        places += [*first, *inside, *content.values()]
    return (place for place in places if isinstance(place, StandIn))

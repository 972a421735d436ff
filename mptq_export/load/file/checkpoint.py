"""Reading a checkpoint file into named float32 tensors, without running what is in it."""

import argparse
import json
import pickletools
import re
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from mptq_export.load.file.content import Content, content_of
from mptq_export.load.file.door import check_checkpoint_path
from mptq_export.load.file.model_kwargs import check_model_kwargs
from mptq_export.load.file.train_args import TrainingArgs, read_args
from mptq_export.support.errors import MptqError

_AVERAGES = ("state_dict_ema", "model_ema")
_STATE_KEYS = (*_AVERAGES, "state_dict", "model")
_UNWRAPPED = re.compile(r"(^|\.)n_averaged$")
"""What stands beside the wrapped module, under a name of its own."""
_WRAPPERS = ("module.", "_orig_mod.")
_NEEDED = re.compile(r"GLOBAL (\S+)")
"""The name that torch reports when it refuses to look one up."""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file says.

    Attributes:
        path: the file.
        state_dict: tensors by name, without the prefixes of DataParallel and torch.compile. Those of a float kind are
            float32 and finite; others (integer buffers) are as stored.
        arches: names of the architecture that the file holds, the first to be believed; which one a library knows is
            for that library to say.
        model_kwargs: arguments for `timm.create_model` that the file holds.
        module: the pickled module, if the file is one.
        class_names: names of the logits, if the file holds them.
        pretrained_cfg: the file's own preprocessing, in timm's terms; empty if it holds none.
        args: the options of the training script, if the file holds them.
        entry: the key that the tensors stand under; empty where the file is nothing else.
        passed_over: other keys that hold weights.
    """

    path: Path
    state_dict: dict[str, Tensor]
    arches: tuple[str, ...]
    model_kwargs: dict[str, Any]
    module: nn.Module | None
    class_names: tuple[str, ...] | None
    pretrained_cfg: dict[str, Any]
    args: TrainingArgs = field(default_factory=lambda: TrainingArgs(Path()))
    entry: str = ""
    passed_over: tuple[str, ...] = ()

    @property
    def averaged(self) -> bool:
        """Whether the tensors are an average over training steps."""
        return self.entry in _AVERAGES

    @property
    def class_map(self) -> str | None:
        """The file that numbered the classes at training, where the options name one."""
        named = self.args.flag("class_map")
        return named if isinstance(named, str) else None

    @property
    def weights(self) -> str:
        """Which weights of the file these are, for people."""
        whole = "the pickled module" if self.module is not None else "the file's tensors"
        found = f"{self.entry} of the file" if self.entry else whole
        if self.averaged:
            found += ", an average over training steps"
        return found + (f" ({', '.join(self.passed_over)} not taken)" if self.passed_over else "")


def read_checkpoint(path: Path, *, trust: bool = False) -> Checkpoint:
    """Read a file of `torch.save` or of safetensors, told apart by content.

    The tensors are the file itself (a bare state dict) or stand under one of its keys. Averaged weights come first, as
    in timm: `state_dict_ema`, `model_ema`, `state_dict`, `model`. The architecture is read from `arch` or
    `args.model`, and `model_kwargs`, `class_names` and `pretrained_cfg` (or `preprocessing`) from keys of these names;
    in safetensors from the metadata, where the latter are JSON.

    Args:
        path: the file.
        trust: whether the file may run code while it is unpickled; needed for a pickled module.

    Raises:
        MptqError: the file is missing, of another kind, truncated or corrupt, would run code and `trust` is off, holds
            no tensors, or holds NaN or Inf.
    """
    check_checkpoint_path(path)
    is_safe = content_of(path) is Content.SAFETENSORS
    content: Any = _read_safetensors(path) if is_safe else _read_pickled(path, trust)
    module, entry = _find_module(content)
    about = content if isinstance(content, Mapping) else {}
    pretrained_cfg = _mapping(path, about, "pretrained_cfg") or _mapping(path, about, "preprocessing")
    model_kwargs = _mapping(path, about, "model_kwargs")
    if module is None:
        found, entry = _find_tensors(path, content)
    else:
        found = module.state_dict()
    tensors = _clean(path, found)
    check_model_kwargs(path, model_kwargs, len(tensors))
    return Checkpoint(
        path=path,
        state_dict=tensors,
        arches=_arches(about, module),
        model_kwargs=model_kwargs,
        module=module,
        class_names=_class_names(about, pretrained_cfg),
        pretrained_cfg=pretrained_cfg,
        args=read_args(path, about.get("args")),
        entry=entry,
        passed_over=tuple(key for key in _STATE_KEYS if key != entry and _holds_weights(about.get(key))),
    )


def _read_safetensors(path: Path) -> dict[str, Any]:
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


#: Plain data that training scripts store beside the weights; none of it can run code.
_PLAIN_DATA: list[Any] = [
    argparse.Namespace,
    np.dtype,
    np._core.multiarray.scalar,  # type: ignore[attr-defined]
    *{type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int32, np.int64, np.bool_)},
]


def _read_pickled(path: Path, trust: bool) -> Any:
    zipped = content_of(path) is Content.TORCH_ZIP
    if zipped:
        _check_stored(path)
    try:
        with torch.serialization.safe_globals(_PLAIN_DATA):
            return torch.load(path, map_location="cpu", weights_only=not trust, mmap=zipped)
    except (ImportError, AttributeError) as error:
        raise MptqError(f"{path} needs code that is not installed here ({error}); save a state_dict instead") from error
    except Exception as error:
        raise MptqError(f"{path} {_trouble(path, str(error) or 'it ends too early')}") from error


def _check_stored(path: Path) -> None:
    """Refuse an archive whose parts are larger than itself: PyTorch stores them as they are, a bomb packs them."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as error:
        raise MptqError(f"{path} cannot be read ({error}); it is truncated or corrupt, get the file again") from error
    size = sum(entry.file_size for entry in entries)
    if size > path.stat().st_size:
        raise MptqError(f"{path} holds parts of {size:,} bytes, more than the file; save it with torch.save")


def _trouble(path: Path, message: str) -> str:
    """What is wrong with a file that torch refuses, and what to do."""
    needed = _NEEDED.search(message)
    if needed or _is_plain_pickle(path):
        what = f" (it needs {needed[1]})" if needed else ""
        return (
            f"would run code when it is opened{what}; save a state_dict instead, or pass --trust only if you trust "
            "the file"
        )
    reason = (
        "it is not in PyTorch's format" if message.startswith("Weights only") else message.split(". ", maxsplit=1)[0]
    )
    return f"cannot be read ({reason}); it is truncated or corrupt, get the file again"


def _is_plain_pickle(path: Path) -> bool:
    """Whether the file is a whole pickle that looks up names, from `pickle.dump` rather than `torch.save`."""
    try:
        with path.open("rb") as stream:
            names = {opcode.name for opcode, _, _ in pickletools.genops(stream)}
    except (ValueError, OSError, LookupError):
        return False
    return not names.isdisjoint({"GLOBAL", "STACK_GLOBAL", "INST"})


def _find_module(content: Any) -> tuple[nn.Module | None, str]:
    """The module with the key that it stands under."""
    values = {"": content}
    if isinstance(content, Mapping):
        values |= {key: content.get(key) for key in _STATE_KEYS}
    key, module = next(((k, value) for k, value in values.items() if isinstance(value, nn.Module)), ("", None))
    return module.module if isinstance(module, nn.DataParallel) else module, key


def _holds_weights(value: Any) -> bool:
    return isinstance(value, nn.Module) or _is_state_dict(value)


def _find_tensors(path: Path, content: Any) -> tuple[Mapping[str, Tensor], str]:
    """The tensors with the key that they stand under."""
    if isinstance(content, Mapping):
        for key, candidate in (*((key, content.get(key)) for key in _STATE_KEYS), ("", content)):
            if _is_state_dict(candidate):
                return candidate, key
    held = type(content).__name__
    if isinstance(content, Mapping) and content:
        held = ", ".join(key[:40] if isinstance(key, str) else type(key).__name__ for key in islice(content, 5))
    raise MptqError(
        f"{path} holds no state dict (found: {held}); save one bare or under one of {', '.join(_STATE_KEYS)}"
    )


def _is_state_dict(value: Any) -> TypeGuard[Mapping[str, Tensor]]:
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in value.items())
    )


def _clean(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Strip the wrappers' prefixes, cast to float32, refuse NaN and Inf."""
    named = dict(tensors)
    while prefix := next((p for p in _WRAPPERS if _all_start(named, p)), None):
        named = {name.removeprefix(prefix): tensor for name, tensor in named.items()}
    clean = {}
    size = path.stat().st_size
    for name, stored in named.items():
        tensor = stored.detach()
        if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized or tensor.is_complex():
            raise MptqError(f"{path}: tensor {name} is no plain tensor of numbers; save a state_dict of a float model")
        if tensor.numel() * tensor.element_size() > size:
            raise MptqError(
                f"{path}: tensor {name} {list(tensor.shape)} is larger than the file; it is corrupt, get it again"
            )
        if tensor.is_floating_point():
            tensor = tensor.to(torch.float32)
            bad = int(tensor.numel() - torch.isfinite(tensor).sum())
            if bad:
                raise MptqError(
                    f"{path}: tensor {name} holds {bad} NaN or Inf in {tensor.numel()} values; training diverged or "
                    "the file is damaged, use another checkpoint"
                )
        clean[name] = tensor
    return clean


def _all_start(names: Mapping[str, Tensor], prefix: str) -> bool:
    wrapped = [name for name in names if not _UNWRAPPED.search(name)]
    return bool(wrapped) and all(name.startswith(prefix) for name in wrapped)


def _arches(about: Mapping[str, Any], module: nn.Module | None) -> tuple[str, ...]:
    args = about.get("args")
    named = [about.get("arch"), args.get("model") if isinstance(args, Mapping) else getattr(args, "model", None)]
    cfg = getattr(module, "pretrained_cfg", None)
    if isinstance(cfg, Mapping):
        named.append(cfg.get("architecture"))
    return tuple(name for name in named if isinstance(name, str) and name)


def _mapping(path: Path, about: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = about.get(key)
    if value is not None and not isinstance(value, Mapping):
        raise MptqError(f"{path}: its {key} is a {type(value).__name__}, not a dict; save it as a dict")
    return dict(value or {})


def _class_names(about: Mapping[str, Any], pretrained_cfg: Mapping[str, Any]) -> tuple[str, ...] | None:
    return class_names_of(about.get("class_names") or pretrained_cfg.get("label_names"))


def class_names_of(value: object) -> tuple[str, ...] | None:
    """Names of classes, if a stored value is a list of texts."""
    if isinstance(value, list | tuple) and value and all(isinstance(name, str) for name in value):
        return tuple(value)
    return None

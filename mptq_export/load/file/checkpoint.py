"""A checkpoint: named float32 tensors of a file, or of files that belong together, and what the file says of them."""

from argparse import Namespace
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from mptq_export.load.file.content import Content
from mptq_export.load.file.door import checkpoint_file
from mptq_export.load.file.find_weights import find_weights
from mptq_export.load.file.float_weights import float_weights
from mptq_export.load.file.model_kwargs import check_model_kwargs
from mptq_export.load.file.npz_file import read_npz
from mptq_export.load.file.pickled import read_pickled
from mptq_export.load.file.plain_makers import kind_of
from mptq_export.load.file.safetensors_file import read_safetensors
from mptq_export.load.file.shards import read_shards
from mptq_export.load.file.train_args import TrainingArgs, read_args
from mptq_export.load.file.unwrap import Unwrapped, unwrap, unwrap_for
from mptq_export.support.errors import MptqError

_ABOUT = ("arch", "args", "model_kwargs", "pretrained_cfg", "preprocessing", "class_names")
"""Keys beside the weights that are read."""
_SHOWN = 5


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint says.

    Attributes:
        path: the file; of shards, their index.
        state_dict: tensors by name, without the prefix of what wrapped the model in training. Those of a float kind are
            float32 and finite; others (integer buffers) are as stored.
        arches: names of the architecture that the file holds, the first to be believed; which one a library knows is
            for that library to say.
        model_kwargs: arguments for `timm.create_model` that the file holds.
        module: the pickled module, if the file is one.
        class_names: names of the logits, if the file holds them.
        pretrained_cfg: the file's own preprocessing, in timm's terms; empty if it holds none.
        args: the options of the training script, if the file holds them.
        entry: the key that the tensors stand under; empty where the file is nothing else.
        averaged: whether the tensors are an average over training steps.
        passed_over: other keys and prefixes that hold weights.
        prefix: what all names of `state_dict` began with; empty, or with a dot at its end.
        beside: tensors that did not begin with it, by their stored names: of kinds that no model computes with (losses,
            metrics, counters, heads of pretraining), and other copies of the weights.
        notes: what was left out, a sentence each.
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
    averaged: bool = False
    passed_over: tuple[str, ...] = ()
    prefix: str = ""
    beside: dict[str, Tensor] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

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
        if self.prefix.replace("module.", "") and self.module is None:
            found += f", under {self.prefix}"
        if self.averaged:
            found += ", an average over training steps"
        if not self.passed_over:
            return found
        more = ", ..." if len(self.passed_over) > _SHOWN else ""
        return f"{found} ({', '.join(name[:40] for name in self.passed_over[:_SHOWN])}{more} not taken)"

    def named_for(self, wanted: Collection[str]) -> "Checkpoint":
        """The same with names as a model has them, where they only have a prefix too many or too few, whatever it is.

        Args:
            wanted: names of the model's tensors.
        """
        if any(name in wanted for name in self.state_dict):
            return self
        parts = self.prefix.split(".")
        for count in range(1, len(parts)):
            own = ".".join(parts[-1 - count :])  # a prefix that was taken off, but is part of the model's names
            if any(own + name in wanted for name in self.state_dict):
                named = {own + name: tensor for name, tensor in self.state_dict.items()}
                return replace(self, state_dict=named, prefix=self.prefix.removesuffix(own))
        found = unwrap_for(wanted, self.state_dict)
        return self._unwrapped(found) if found.prefix else self

    def _unwrapped(self, found: Unwrapped) -> "Checkpoint":
        """The same with the names that were found."""
        return replace(
            self,
            state_dict=found.tensors,
            averaged=self.averaged or found.averaged,
            passed_over=(*self.passed_over, *(f"{self.prefix}{copy}." for copy in found.copies)),
            prefix=self.prefix + found.prefix,
            beside={**self.beside, **{self.prefix + name: tensor for name, tensor in found.beside.items()}},
            notes=(*self.notes, *found.notes),
        )


def read_checkpoint(path: Path, *, trust: bool = False) -> Checkpoint:
    """Read a checkpoint, told by its content: of `torch.save`, `pickle.dump`, safetensors, NumPy, or in shards.

    The tensors are the file itself (a bare state dict) or stand under one of its keys. Averaged weights come first, as
    in timm (see `find_weights.KEYS`); what wrapped the model is taken off the names (see `unwrap`). The architecture is
    read from `arch` or `args.model`, and `model_kwargs`, `class_names` and `pretrained_cfg` (or `preprocessing`) from
    keys of these names; in safetensors from the metadata, where the latter are JSON.

    Args:
        path: the file, the index of shards, or a folder that holds one of them.
        trust: whether the file may run code while it is unpickled; needed for a pickled module.

    Raises:
        MptqError: the file is missing, of another kind, truncated or corrupt, is nothing without code of its own and
            `trust` is off, holds no tensors, or holds quantized weights, an adapter, NaN or Inf.
    """
    path, kind = checkpoint_file(path)
    content = _read(path, kind, trust=trust)
    found = find_weights(path, content)
    about = {key: _listed(content.get(key)) for key in _ABOUT} if isinstance(content, Mapping) else {}
    pretrained_cfg = _mapping(path, about, "pretrained_cfg") or _mapping(path, about, "preprocessing")
    model_kwargs = _mapping(path, about, "model_kwargs")
    stored = found.tensors if found.module is None else found.module.state_dict()
    names = unwrap(float_weights(path, stored, _size(path, kind)))
    check_model_kwargs(path, model_kwargs, len(names.tensors))
    checkpoint = Checkpoint(
        path=path,
        state_dict=names.tensors,
        arches=_arches(about, found.module),
        model_kwargs=model_kwargs,
        module=found.module,
        class_names=_class_names(about, pretrained_cfg),
        pretrained_cfg=pretrained_cfg,
        args=read_args(path, about.get("args")),
        entry=found.entry,
        averaged=found.averaged,
        passed_over=found.passed_over,
        notes=tuple(f"{name[:80]} left out: it is no tensor" for name in found.left),
    )
    return checkpoint._unwrapped(names)


def _read(path: Path, kind: Content, *, trust: bool) -> Any:
    if kind is Content.SAFETENSORS:
        return read_safetensors(path)
    if kind is Content.NPZ:
        return read_npz(path)
    if kind is Content.INDEX:
        return {"state_dict": read_shards(path, lambda shard: _read_shard(shard, trust=trust))}
    return read_pickled(path, kind, trust=trust)


def _read_shard(path: Path, *, trust: bool) -> Any:
    path, kind = checkpoint_file(path)
    if kind is Content.INDEX:
        raise MptqError(f"{path} is an index in an index; get the whole folder again")
    return _read(path, kind, trust=trust)


def _size(path: Path, kind: Content) -> int:
    """Bytes of the file, or of all that lies beside an index."""
    files = path.parent.iterdir() if kind is Content.INDEX else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _listed(value: Any) -> Any:
    """A value, or those of a mapping, where numbers and arrays of NumPy are Python's own."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Namespace):
        value = vars(value)
    if isinstance(value, Mapping):
        return {
            key: held.tolist() if isinstance(held, np.ndarray | np.generic) else held for key, held in value.items()
        }
    return value


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
        raise MptqError(f"{path}: its {key} is a {kind_of(value)}, not a dict; save it as a dict")
    return dict(value or {})


def _class_names(about: Mapping[str, Any], pretrained_cfg: Mapping[str, Any]) -> tuple[str, ...] | None:
    return class_names_of(about.get("class_names") or pretrained_cfg.get("label_names"))


def class_names_of(value: object) -> tuple[str, ...] | None:
    """Names of classes, if a stored value is a list of texts."""
    if isinstance(value, list | tuple) and value and all(isinstance(name, str) for name in value):
        return tuple(value)
    return None

"""A folder as transformers writes it: its configuration and its weights, looked at without transformers or torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from mptq_export.load.request import ModelRequest
from mptq_export.load.transformers.config_values import check_config
from mptq_export.support.errors import MptqError

CONFIG, ADAPTER = "config.json", "adapter_config.json"
PREPROCESSOR, PROCESSOR = "preprocessor_config.json", "processor_config.json"
WEIGHTS, PICKLED = "model.safetensors", "pytorch_model.bin"
_INDEX = ".index.json"
_WHOLE = (WEIGHTS, PICKLED, WEIGHTS + _INDEX, PICKLED + _INDEX)
_LARGEST_JSON = 2**26
"""Bytes: 22,000 class names take 1.6 million."""


@dataclass(frozen=True)
class Folder:
    """What lies in a folder of transformers.

    Attributes:
        path: of the folder.
    """

    path: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        """What config.json says.

        Raises:
            MptqError: it cannot be read, or says what no model has.
        """
        return read_json(self.path / CONFIG)

    @property
    def architecture(self) -> str:
        """Name of the class whose weights these are, as config.json has it; empty where it has none."""
        named = self.config.get("architectures")
        return named[0] if isinstance(named, list) and named and isinstance(named[0], str) else ""

    @property
    def model_type(self) -> str:
        """The library's name of the family."""
        return str(self.config.get("model_type"))[:80]

    @cached_property
    def processor(self) -> tuple[str, dict[str, Any]] | None:
        """The name of the file that says how a picture becomes the input, and what it says; None without one.

        Raises:
            MptqError: it cannot be read.
        """
        both = self.path / PROCESSOR
        if both.is_file():
            inner = read_json(both).get("image_processor")
            if isinstance(inner, dict):
                return PROCESSOR, inner
        own = self.path / PREPROCESSOR
        return (PREPROCESSOR, read_json(own)) if own.is_file() else None

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """The files of the weights, safetensors before a pickle; empty where there is none.

        Raises:
            MptqError: an index cannot be read, names no file of the folder, or one that is not there.
        """
        for name in (WEIGHTS, PICKLED):
            if (self.path / name).is_file():
                return (self.path / name,)
            index = self.path / (name + _INDEX)
            if index.is_file():
                return _shards(index)
        return ()

    @property
    def pickled(self) -> bool:
        """Whether the weights are a pickle."""
        return bool(self.files) and self.files[0].suffix == Path(PICKLED).suffix

    @property
    def size(self) -> int:
        """Bytes of the weights."""
        return sum(file.stat().st_size for file in self.files)

    def names(self) -> tuple[str, ...]:
        """Names of the tensors, as the files have them.

        Raises:
            MptqError: a file is damaged.
        """
        return tuple(name for file in self.files for name in tensor_names(file))

    def check_said(self, tensors: int | None) -> None:
        """Refuse what its files say.

        Args:
            tensors: how many the weights have; None: nobody counted.

        Raises:
            MptqError: code of its own, quantized weights, an adapter beside them, or a model that is never built.
        """
        says = {CONFIG: self.config, **dict([self.processor] if self.processor else [])}
        for file, content in says.items():
            if content.get("auto_map"):
                raise MptqError(
                    f"{self.path / file} wants code of its own to run (auto_map), which is never done here; take "
                    "auto_map out of it if a class of transformers itself has these weights"
                )
        if self.config.get("quantization_config"):
            raise MptqError(
                f"{self.path} holds weights that are quantized already (quantization_config in {CONFIG}); give the "
                "folder of the float model"
            )
        if (self.path / ADAPTER).is_file():
            raise MptqError(
                f"{self.path} holds a whole model and an adapter ({ADAPTER}); take the adapter out, and give its "
                "folder with --base if it is meant"
            )
        check_config(self.path / CONFIG, self.config, tensors)

    def check(self, *, trust: bool) -> None:
        """Refuse what a look at the files shows.

        Args:
            trust: whether a pickle may be read.

        Raises:
            MptqError: what `check_said` refuses, no weights, or a pickle.
        """
        if not self.files:
            raise MptqError(
                f"{self.path} has no weights that can be read here ({WEIGHTS}, also sharded, or {PICKLED} with "
                "--trust); save the model with save_pretrained"
            )
        if self.pickled and not trust:
            raise MptqError(
                f"{self.files[0]} is a pickle, and only safetensors are read; save the model with save_pretrained "
                "again, or pass --trust if you trust the file"
            )
        self.check_said(None if self.pickled else len(self.names()))


def is_folder(path: Path) -> bool:
    """Whether a folder holds a model of transformers.

    Raises:
        MptqError: it does, and its config.json is damaged.
    """
    if not (path / CONFIG).is_file() or is_adapter(path):
        return False
    try:
        config = read_json(path / CONFIG)
    except MptqError:
        if (path / PREPROCESSOR).is_file():  # nothing else has such a file
            raise
        return False
    # A wrapper of timm's: with timm's own words beside it, timm's room reads it.
    return isinstance(config.get("model_type"), str) and not isinstance(config.get("architecture"), str)


def folder_of(asked: ModelRequest) -> Path | None:
    """The folder of a model of transformers that is named, itself or by its file of weights; None where none.

    A file that the user says is another library's architecture (``--arch``) is not the folder's.
    """
    path = Path(asked.name)
    folder = path.parent if path.is_file() and path.name in _WHOLE and asked.arch is None else path
    return folder if is_folder(folder) else None


def is_adapter(path: Path) -> bool:
    """Whether a folder holds an adapter of PEFT, which needs a base model."""
    return (path / ADAPTER).is_file() and not any((path / name).is_file() for name in _WHOLE)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        MptqError: it is none, too large, or may not be read.
    """
    try:
        if path.stat().st_size > _LARGEST_JSON:
            raise MptqError(f"{path} is larger than any configuration; get the file again")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise MptqError(f"{path} cannot be read as JSON ({type(error).__name__}); get the file again") from error
    if not isinstance(content, dict):
        raise MptqError(f"{path} is no JSON object; get the file again")
    return content


def tensor_names(path: Path) -> tuple[str, ...]:
    """Names of the tensors of a file; empty for a pickle, which is not opened.

    Raises:
        MptqError: the file is damaged.
    """
    if path.suffix != Path(WEIGHTS).suffix:
        return ()
    try:
        with safe_open(path, framework="np") as file:
            return tuple(file.keys())
    except (SafetensorError, OSError, ValueError) as error:
        raise MptqError(f"{path} cannot be read as safetensors ({error}); it is truncated or corrupt") from error


def _shards(index: Path) -> tuple[Path, ...]:
    placed = read_json(index).get("weight_map")
    names = sorted(set(map(str, placed.values()))) if isinstance(placed, Mapping) else []
    kind = index.name.removesuffix(_INDEX).rpartition(".")[2]
    strange = [name for name in names if Path(name).name != name or Path(name).suffix != f".{kind}"]
    if not names or strange:
        told = f"it names {strange[0][:80]!r}" if strange else "it names no file"
        raise MptqError(f"{index} is no index of shards ({told}); get the file again")
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise MptqError(f"{index} names {missing[0][:80]}, which is not in the folder; get the whole folder again")
    return tuple(index.parent / name for name in names)

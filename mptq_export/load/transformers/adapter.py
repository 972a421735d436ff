"""An adapter of PEFT, merged into the base model that the user gives."""

import importlib
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from mptq_export.load.loaded import LoadedModel
from mptq_export.load.loader import Loader, Source
from mptq_export.load.transformers.adapter_folder import ADAPTER_WEIGHTS, AdapterFolder
from mptq_export.load.transformers.architecture import Architecture, architecture_of
from mptq_export.load.transformers.folder import ADAPTER, CONFIG, Folder, is_adapter
from mptq_export.load.transformers.library import first_line, offline_library
from mptq_export.load.transformers.loader import assembled, check_options
from mptq_export.load.transformers.preprocessing import input_of
from mptq_export.load.transformers.weights import Filled, fill
from mptq_export.support.errors import MptqError

_MERGE = "merge it with the versions of transformers and peft that trained it (merge_and_unload, save_pretrained)"
_TRAIN = "train LoRA, or another kind that can be merged"


def load_adapter(source: Source) -> LoadedModel:
    """The base model with the adapter's weights in its own.

    Raises:
        MptqError: the base model cannot be loaded, or the adapter does not fit it.
    """
    asked, adapter = source.asked, AdapterFolder(Path(source.asked.name))
    assert asked.base is not None  # the door has seen to it
    base = Folder(Path(asked.base))
    check_options(asked, base.path / CONFIG)
    tensors = load_file(adapter.path / ADAPTER_WEIGHTS)
    with offline_library() as library:
        architecture = architecture_of(library, base, adapter.base_class)
        _take_labels(architecture, adapter, tensors)
        processed = Folder(adapter.path) if Folder(adapter.path).processor else base
        made = input_of(library, processed, architecture, asked.inputs)

        def filling() -> Filled:
            filled = fill(architecture, adapter.own_modules)
            return replace(filled, model=_merged(filled.model, adapter, tensors))

        loaded = assembled(asked, architecture, made, filling)
    merged = f"the adapter ({len(tensors)} tensors) is merged by peft {version('peft')} into {base.path}"
    return replace(
        loaded,
        arch_source=f"{ADAPTER} and {CONFIG}",
        notes=(merged, *loaded.notes),
        weights=f"{base.files[0].name} and {ADAPTER_WEIGHTS}",
    )


def _take_labels(architecture: Architecture, adapter: AdapterFolder, tensors: Mapping[str, Tensor]) -> None:
    """Where the adapter brings a classifier, its classes are not those that the base has names for."""
    heads = [tensor for name, tensor in tensors.items() if name.endswith(".classifier.weight") and tensor.dim() == 2]
    if "classifier" not in adapter.own_modules or len(heads) != 1:
        return
    unnamed = {number: f"LABEL_{number}" for number in range(len(heads[0]))}
    architecture.config.id2label = adapter.class_names if len(adapter.class_names) == len(unnamed) else unnamed


def _merged(model: nn.Module, adapter: AdapterFolder, tensors: Mapping[str, Tensor]) -> nn.Module:
    """The model with the adapter's changes, every tensor of which must be in it, and no other."""
    peft: Any = importlib.import_module("peft")
    try:
        adapted = peft.PeftModel.from_pretrained(model, str(adapter.path), torch_device="cpu", local_files_only=True)
        placed = peft.get_peft_model_state_dict(adapted, save_embedding_layers=False)
    except Exception as error:
        raise MptqError(
            f"peft {version('peft')} cannot put {adapter.path} on the base model ({first_line(error)}); give the base "
            f"that it was trained on with --base, or {_MERGE}"
        ) from error
    lost = sorted(name for name, tensor in tensors.items() if name not in placed or not _equal(placed[name], tensor))
    made_up = sorted(set(placed) - set(tensors))
    if lost or made_up:
        what = f"has no place for {lost[0]}" if lost else f"needs {made_up[0]}, which the adapter does not have"
        count = len(lost) + len(made_up) - 1
        raise MptqError(
            f"{adapter.path} does not fit the base model, which {what}{f' and {count} more' if count else ''}; give "
            f"the base that it was trained on with --base, or {_MERGE}"
        )
    if not hasattr(adapted, "merge_and_unload"):
        raise MptqError(f"{adapter.path} cannot be merged into weights ({adapter.kind}); {_TRAIN}")
    try:
        merged: nn.Module = adapted.merge_and_unload(safe_merge=True)
    except Exception as error:
        raise MptqError(
            f"{adapter.path} cannot be merged into weights ({adapter.kind}; {first_line(error)}); {_TRAIN}"
        ) from error
    return merged


def _equal(placed: Tensor, stored: Tensor) -> bool:
    return placed.shape == stored.shape and torch.equal(placed.float(), stored.float())


LOADER = Loader(lambda source: is_adapter(Path(source.asked.name)), load_adapter)

"""A folder's weights into their class: every one has a place, and every place has one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mptq_export.load.transformers.architecture import Architecture
from mptq_export.load.transformers.folder import Folder
from mptq_export.load.transformers.library import first_line
from mptq_export.support.errors import MptqError
from mptq_export.support.limits import check_memory

_POOLER = "pooler."
_COMPUTED = ("position_ids", "relative_position_index", "relative_coords_table", "num_batches_tracked")
"""Buffers that follow from the configuration: older versions stored them."""
_HEADS = ("classifier", "pooler.dense")
"""Of a base model: what an adapter with a head of its own replaces."""
_SHOWN = 4


@dataclass(frozen=True)
class Filled:
    """A model with its weights.

    Attributes:
        model: in float32.
        left: what of the folder it has no place for, for people: a part of a larger model.
        lacks_pooler: whether the folder has no weights of its pooler, which was taken out.
    """

    model: nn.Module
    left: tuple[str, ...]
    lacks_pooler: bool


def fill(architecture: Architecture, head: tuple[str, ...] = (), tensors: Mapping[str, Tensor] | None = None) -> Filled:
    """Build the class and give it the weights.

    Args:
        architecture: with the folder that it comes from.
        head: modules that get their weights later, from an adapter: what the folder has for them, or lacks, is nothing.
        tensors: the weights, where they are not those of the folder's own files.

    Raises:
        MptqError: weights are missing, left over, of another shape or no numbers, or the model does not fit in memory.
    """
    folder = architecture.folder
    count = sum(parameter.numel() for parameter in skeleton(architecture).parameters())
    size = folder.size if tensors is None else sum(each.numel() * each.element_size() for each in tensors.values())
    if count > size:  # not even a byte for each
        raise MptqError(
            f"{folder.path}: the model of config.json has {count:,} weights, and the files hold {size:,} bytes; "
            "they do not belong together, get the folder again"
        )
    check_memory(f"the float model {architecture.name}", 4.0 * count, "use a machine with more, or a smaller model")
    try:
        model, found = architecture.built.from_pretrained(
            folder.path if tensors is None else None,
            state_dict=tensors,
            config=architecture.config,
            dtype=torch.float32,
            attn_implementation=attention_of(architecture.built),
            use_safetensors=not folder.pickled,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            local_files_only=True,
            trust_remote_code=False,
        )
    except Exception as error:
        raise MptqError(
            f"transformers cannot load {folder.path} as {architecture.name} ({first_line(error)}); get the folder again"
        ) from error
    return _checked(architecture, model, found, head)


def attention_of(built: Any) -> str:
    """The attention that the class runs with: torch's own where it knows it, never a kernel that a folder names."""
    return "sdpa" if getattr(built, "_supports_sdpa", False) else "eager"


def skeleton(architecture: Architecture) -> nn.Module:
    """The model without memory for its weights, to look at shapes.

    Raises:
        MptqError: its class refuses the configuration.
    """
    try:
        with torch.device("meta"):
            model: nn.Module = architecture.built._from_config(
                architecture.config, attn_implementation=attention_of(architecture.built)
            )
    except Exception as error:
        raise MptqError(
            f"transformers cannot build {architecture.name} from its config.json ({first_line(error)}); get the "
            "folder again"
        ) from error
    return model.eval().requires_grad_(False)


def _checked(architecture: Architecture, model: Any, found: dict[str, Any], head: tuple[str, ...]) -> Filled:
    folder = architecture.folder
    mismatched = sorted(each for each in found.get("mismatched_keys", ()) if not _is_within(each[0], head))
    if mismatched:
        name, stored, built = (*mismatched[0], "?", "?")[:3]
        raise MptqError(
            f"{folder.path}: {name} is {_shape(stored)} in the file and {_shape(built)} in config.json's "
            f"{architecture.name}{_more(len(mismatched) - 1)}; they do not belong together, get the folder again"
        )
    lacking = (name for name in found["missing_keys"] if not name.endswith(_COMPUTED))
    missing = sorted(name for name in lacking if not _is_within(name, head))
    of_pooler = bool(missing) and all(name.startswith(_POOLER) or f".{_POOLER}" in name for name in missing)
    if missing and not (of_pooler and getattr(model, "pooler", None) is not None):
        raise MptqError(
            f"{folder.path} lacks weights of {architecture.name}: {_names(missing)}; they would be random, "
            f"{_advice(folder)}"
        )
    rest = architecture.part.rest if architecture.part else {}
    unexpected = sorted(name for name in found["unexpected_keys"] if not name.endswith(_COMPUTED))
    replaced = (*head, *_HEADS) if head else ()
    strange = [n for n in unexpected if not n.startswith(tuple(rest)) and not _is_within(n, replaced)]
    if strange:
        raise MptqError(
            f"{folder.path} holds weights that {architecture.name} has no place for: {_names(strange)}; "
            f"{_advice(folder)}"
        )
    if of_pooler:
        model.pooler = None  # what is random would be part of the model's identity
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise MptqError(
                f"{folder.path}: tensor {name} holds NaN or Inf; training diverged or the file is damaged, use "
                "another checkpoint"
            )
    left = tuple(dict.fromkeys(what for start, what in rest.items() if any(n.startswith(start) for n in unexpected)))
    return Filled(model, left, of_pooler)


def _is_within(name: str, modules: tuple[str, ...]) -> bool:
    """Whether a tensor belongs to one of some modules, named by the end of their paths."""
    return any(f".{name}".rpartition(".")[0].endswith(f".{module}") for module in modules)


def _advice(folder: Folder) -> str:
    written = folder.config.get("transformers_version")
    with_version = f" (config.json was written by transformers {str(written)[:20]})" if written else ""
    return f"give the folder that the whole model was saved to{with_version}"


def _names(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + _more(len(names) - _SHOWN)


def _more(count: int) -> str:
    return f" and {count} more" if count > 0 else ""


def _shape(shape: Any) -> str:
    return "x".join(map(str, shape)) if not isinstance(shape, str) else shape

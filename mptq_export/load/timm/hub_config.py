"""The `config.json` that timm's hub keeps beside weights: architecture, arguments, preprocessing, names of classes.

All but the architecture may stand in it or in its `pretrained_cfg`; in older ones, all of that stands in it directly.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mptq_export.load.file.advice import folder_config
from mptq_export.load.file.checkpoint import class_names_of
from mptq_export.load.file.model_kwargs import check_model_kwargs
from mptq_export.load.timm.config_json import is_timm_config
from mptq_export.support.errors import MptqError

CONFIG_JSON = "config.json"
_LARGEST = 2**16


@dataclass(frozen=True)
class HubConfig:
    """What it says.

    Attributes:
        architecture: timm name, perhaps with the tag of its weights.
        model_args: arguments for `timm.create_model`, with the pooling.
        num_classes: how many; None where it is not said.
        pretrained_cfg: preprocessing in timm's terms.
        class_names: names of the logits; None where it has none, or not one for each.
        warnings: what of it cannot be followed, a sentence each.
        source: name of its file, for people.
    """

    architecture: str
    model_args: dict[str, Any]
    num_classes: int | None
    pretrained_cfg: dict[str, Any]
    class_names: tuple[str, ...] | None
    warnings: tuple[str, ...] = ()
    source: str = CONFIG_JSON

    def is_of(self, arch: str) -> bool:
        """Whether it is about an architecture, whatever weights a tag names."""
        return arch.partition(".")[0] == self.architecture.partition(".")[0]

    def with_tag(self, arch: str) -> str:
        """The name of the architecture with the tag of the weights, where it has one."""
        tag = self.pretrained_cfg.get("tag")
        return f"{arch}.{tag}" if isinstance(tag, str) and tag and "." not in arch else arch


def read_hub_config(folder: Path, tensors: int) -> HubConfig | None:
    """The configuration in a folder; None where there is none of timm.

    Args:
        folder: where the weights lie.
        tensors: number of these.

    Raises:
        MptqError: it says what no model has.
    """
    config, path = folder_config(folder), folder / CONFIG_JSON
    if not is_timm_config(config):
        return None
    nested = config.get("pretrained_cfg", config)
    if not isinstance(nested, Mapping):
        raise MptqError(f"{path}: its pretrained_cfg is a {type(nested).__name__}, not a dict; mend or remove the file")
    args = config.get("model_args") or {}
    if not isinstance(args, Mapping):
        raise MptqError(f"{path}: its model_args are a {type(args).__name__}, not a dict; mend or remove the file")
    pool = config.get("global_pool") or nested.get("global_pool")
    known = {**({"global_pool": pool} if isinstance(pool, str) else {}), **args}
    check_model_kwargs(path, known, tensors, "model_args")
    classes = config.get("num_classes", nested.get("num_classes"))
    names, warnings = _names(config, nested)
    return HubConfig(
        architecture=config["architecture"],
        model_args=known,
        num_classes=classes if type(classes) is int and 0 <= classes <= _LARGEST else None,
        pretrained_cfg=dict(nested),
        class_names=names,
        warnings=warnings,
    )


def _names(config: Mapping[str, Any], nested: Mapping[str, Any]) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """Names of classes in a list, or by number; descriptions are for people, and folders are named by the names."""
    stored = next((each[key] for each in (config, nested) for key in ("label_names", "labels") if each.get(key)), None)
    if stored is None:
        return None, ()
    names = class_names_of(_in_order(stored) if isinstance(stored, Mapping) else stored)
    if names is None:
        return None, (f"{CONFIG_JSON} has label_names that are not one for each class, numbered from 0: not read",)
    return names, ()


def _in_order(stored: Mapping[Any, Any]) -> list[Any]:
    """Names by number, as a list; empty where numbers are missing."""
    try:
        numbered = {int(number): name for number, name in stored.items()}
    except (TypeError, ValueError):
        return []
    return [numbered[number] for number in range(len(stored))] if set(numbered) == set(range(len(stored))) else []

"""A folder as PEFT writes it, looked at without PEFT or torch."""

from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mptq_export.load.door import Door
from mptq_export.load.request import ModelRequest
from mptq_export.load.transformers.folder import ADAPTER, CONFIG, Folder, is_adapter, is_folder, read_json, tensor_names
from mptq_export.load.transformers.library import check_installed
from mptq_export.support.errors import MptqError

ADAPTER_WEIGHTS = "adapter_model.safetensors"
_PICKLED = "adapter_model.bin"


@dataclass(frozen=True)
class AdapterFolder:
    """What lies in a folder of PEFT.

    Attributes:
        path: of the folder.
    """

    path: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        """What adapter_config.json says.

        Raises:
            MptqError: it cannot be read.
        """
        return read_json(self.path / ADAPTER)

    @property
    def kind(self) -> str:
        """The technique, such as LORA."""
        return str(self.config.get("peft_type"))[:40]

    @property
    def base_class(self) -> str:
        """Name of the class that it was trained on; empty where the file does not say."""
        mapping = self.config.get("auto_mapping")
        named = mapping.get("base_model_class") if isinstance(mapping, dict) else None
        return named if isinstance(named, str) else ""

    @property
    def own_modules(self) -> tuple[str, ...]:
        """Modules that it has whole, such as a classifier of its own."""
        named = self.config.get("modules_to_save")
        return tuple(str(each) for each in named) if isinstance(named, list) else ()

    @property
    def class_names(self) -> dict[int, str]:
        """By number, where a config.json lies beside it; empty else."""
        stated = read_json(self.path / CONFIG).get("id2label") if (self.path / CONFIG).is_file() else None
        if not isinstance(stated, dict):
            return {}
        try:
            return {int(number): str(name) for number, name in stated.items()}
        except ValueError:
            return {}

    def check(self) -> None:
        """Refuse what a look at the files shows.

        Raises:
            MptqError: it has no weights as safetensors, or they are damaged.
        """
        if (self.path / ADAPTER_WEIGHTS).is_file():
            tensor_names(self.path / ADAPTER_WEIGHTS)
            return
        what = f"only {_PICKLED}, a pickle" if (self.path / _PICKLED).is_file() else "no weights"
        raise MptqError(f"{self.path} has {what}; save the adapter with save_pretrained again ({ADAPTER_WEIGHTS})")


def check_adapter(asked: ModelRequest) -> None:
    """Refuse an adapter without its base model or without the libraries.

    Raises:
        MptqError: one of them is missing or damaged.
    """
    adapter = AdapterFolder(Path(asked.name))
    adapter.check()
    if asked.base is None:
        stated = adapter.config.get("base_model_name_or_path")
        named = f", such as a copy of {str(stated)[:200]}" if stated else ""
        raise MptqError(
            f"{adapter.path} is an adapter of PEFT, which changes another model: pass that model's folder with "
            f"--base{named}"
        )
    base = Folder(Path(asked.base))
    if not is_folder(base.path):
        raise MptqError(
            f"--base {base.path} is no folder of transformers with a {CONFIG}; give the adapter's base model"
        )
    base.check(trust=asked.trust)
    check_installed(base.path)
    try:
        version("peft")
    except PackageNotFoundError as error:
        raise MptqError(
            f"{adapter.path} is an adapter of PEFT, which is not installed here: pip install peft"
        ) from error


DOOR = Door(lambda asked: is_adapter(Path(asked.name)), check_adapter)

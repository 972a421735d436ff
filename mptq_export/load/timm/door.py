"""Names that are timm's: `timm:NAME` of its hub, and folders as the hub keeps them."""

from pathlib import Path

from mptq_export.load.door import Door
from mptq_export.load.file.advice import folder_config
from mptq_export.load.request import ModelRequest
from mptq_export.load.timm.config_json import is_timm_config
from mptq_export.support.errors import MptqError

HUB = "timm:"
"""What names of pretrained weights begin with."""

_WEIGHTS = ("model.safetensors", "pytorch_model.bin", "pytorch_model.pth", "model.pth")
"""Names of weights in the order of timm."""


def is_hub_folder(name: str) -> bool:
    """Whether a path is a folder with a `config.json` of timm."""
    return is_timm_config(folder_config(Path(name)))


def hub_weights(name: str) -> Path:
    """The weights in such a folder.

    Raises:
        MptqError: there are none with a name that is known.
    """
    folder = Path(name)
    found = next((folder / each for each in _WEIGHTS if (folder / each).is_file()), None)
    if found is None:
        raise MptqError(f"{folder} has a config.json of timm, but none of {', '.join(_WEIGHTS)}; name the file itself")
    return found


def _check_folder(asked: ModelRequest) -> None:
    hub_weights(asked.name)


DOOR = Door(lambda asked: asked.name.startswith(HUB))
FOLDER = Door(lambda asked: is_hub_folder(asked.name), _check_folder)

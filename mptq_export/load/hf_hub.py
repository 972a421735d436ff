"""`hf-hub:OWNER/NAME`: a folder of Hugging Face's hub, fetched; then it is a folder like any other."""

import re
from pathlib import Path

from mptq_export.load.door import ENDING, Door
from mptq_export.load.request import ModelRequest
from mptq_export.support.errors import MptqError

HF_HUB = "hf-hub:"
"""What such names begin with; a revision may follow the name after an @."""

_NAME = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
_WEIGHTS = ("model*.safetensors", "open_clip_model*.safetensors", "pytorch_model*.bin", "open_clip_pytorch_model*.bin")
"""Names of weights, the first that a folder has to be fetched: what cannot run code comes first."""


def is_of_hf_hub(name: str) -> bool:
    """Whether a name is one of Hugging Face's hub."""
    return name.startswith(HF_HUB)


def fetched(name: str) -> Path:
    """The folder on this disk, downloaded where it is not there yet: configuration, and weights in safetensors if any.

    Raises:
        MptqError: there is no such folder, or the hub cannot be reached.
    """
    from huggingface_hub import snapshot_download  # noqa: PLC0415 (only who asks for the hub pays for its import)

    owner, _, revision = name.removeprefix(HF_HUB).partition("@")
    try:
        for weights in _WEIGHTS:
            folder = Path(snapshot_download(owner, revision=revision or None, allow_patterns=["*.json", weights]))
            if any(folder.glob(weights)):
                break
    except Exception as error:  # of the hub, of HTTP or of the disk: the libraries below have a dozen of them
        reason = str(error).strip().splitlines()
        raise MptqError(
            f"cannot fetch {name} ({type(error).__name__}: {reason[0][:200] if reason else 'no reason given'}); check "
            "the name and the network, or download the folder and give its path"
        ) from error
    return folder


def _check(asked: ModelRequest) -> None:
    if _NAME.fullmatch(asked.name.removeprefix(HF_HUB)) is None:
        raise MptqError(f"{asked.name} is no name of the hub; write {HF_HUB}OWNER/NAME, or {HF_HUB}OWNER/NAME@REVISION")


def _output(name: str) -> Path:
    """In the present folder: the name without its revision."""
    return Path(name.removeprefix(HF_HUB).partition("@")[0].replace("/", "_") + ENDING)


DOOR = Door(lambda asked: is_of_hf_hub(asked.name), _check, _output)

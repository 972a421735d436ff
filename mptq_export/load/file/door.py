"""A path: what is no checkpoint by its content."""

from pathlib import Path

from mptq_export.load.door import Door
from mptq_export.load.file.advice import beside, folder_config
from mptq_export.load.file.content import Content, content_of
from mptq_export.load.timm.door import HUB
from mptq_export.support.errors import MptqError

READ = frozenset({Content.TORCH_ZIP, Content.TORCH_LEGACY, Content.PICKLE, Content.SAFETENSORS})
"""What `checkpoint.read_checkpoint` reads."""


def check_checkpoint_path(path: Path) -> None:
    """Refuse what is no checkpoint by its content.

    Raises:
        MptqError: there is no such file, it is a folder, or it holds something else.
    """
    content = content_of(path)
    if content in READ:
        return
    if content is Content.FOLDER and folder_config(path):
        raise MptqError(
            f"checkpoint {path} is a folder as timm and transformers write it: name the weights in it (such as "
            f"model.safetensors).{beside(path / 'config.json')}"
        )
    raise MptqError(f"checkpoint {path} {_REFUSED[content]}")


_ITS_MODULE = "save the state_dict of the module that it was made from"
_REFUSED = {
    Content.MISSING: f"does not exist; check the path, or write {HUB}NAME for pretrained weights",
    Content.FOLDER: f"is a folder; check the path, or write {HUB}NAME for pretrained weights",
    Content.TORCHSCRIPT: f"is a TorchScript archive; {_ITS_MODULE}",
    Content.PROGRAM: f"is a program of torch.export; {_ITS_MODULE}",
    Content.INDEX: "is the index of a checkpoint in shards; join them to one file",
    Content.OTHER: (
        "is neither a file of torch.save nor safetensors by its content; it is of another kind, or truncated or "
        "corrupt, get the file again"
    ),
}

DOOR = Door(lambda _: True, lambda asked: check_checkpoint_path(Path(asked.name)))

"""Whether a path can be a checkpoint, before anything heavy is imported."""

from pathlib import Path

from mptq_export.load.file.advice import beside, folder_config
from mptq_export.support.errors import MptqError

HUB = "timm:"
"""What names of pretrained weights begin with."""
PICKLED = (".pt", ".pth", ".bin")
SAFETENSORS = ".safetensors"


def check_checkpoint_path(path: Path) -> None:
    """Refuse what is no checkpoint by its name.

    Raises:
        MptqError: there is no such file, it is a folder, or its name does not end as one does.
    """
    if not path.is_file():
        if folder_config(path):
            raise MptqError(
                f"checkpoint {path} is a folder as timm and transformers write it: name the weights in it (such as "
                f"model.safetensors).{beside(path / 'config.json')}"
            )
        what = "is a folder" if path.is_dir() else "does not exist"
        raise MptqError(f"checkpoint {path} {what}; check the path, or write {HUB}NAME for pretrained weights")
    if path.suffix not in (*PICKLED, SAFETENSORS):
        known = ", ".join((*PICKLED, SAFETENSORS))
        mend = "it is a PyTorch file by its content: rename it to end in .pt" if is_zip(path) else f"use one of {known}"
        raise MptqError(f"{path} is no checkpoint by its name; {mend}")


def is_zip(path: Path) -> bool:
    """Whether a file is an archive, as `torch.save` writes it.

    Raises:
        MptqError: it may not be read.
    """
    try:
        with path.open("rb") as stream:
            return stream.read(4) == b"PK\x03\x04"
    except OSError as error:
        raise MptqError(f"{path} cannot be read ({error.strerror}); check its permissions") from error

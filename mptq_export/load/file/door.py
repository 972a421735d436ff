"""A path: what is no checkpoint by its content."""

from pathlib import Path

from mptq_export.load.door import Door
from mptq_export.load.file.content import Content, content_of
from mptq_export.load.file.folder import READ, weights_in
from mptq_export.load.request import ModelRequest
from mptq_export.load.timm.door import HUB
from mptq_export.support.errors import MptqError

TORCHSCRIPT = (
    "is a TorchScript archive, whose weights cannot be read without running it; if you trust it, save them: "
    "torch.save(torch.jit.load(FILE).state_dict(), 'weights.pt')"
)
_REFUSED = {
    Content.MISSING: f"does not exist; check the path, or write {HUB}NAME for pretrained weights",
    Content.TORCHSCRIPT: TORCHSCRIPT,
    Content.PROGRAM: "is a program of torch.export; save the state_dict of the module that it was made from",
}


def checkpoint_file(path: Path) -> tuple[Path, Content]:
    """The file to read, and what it is: the path itself, or the weights in a folder.

    Raises:
        MptqError: there is no such file, it is no checkpoint by its content, or a folder holds none or several.
    """
    content = content_of(path)
    if content is Content.FOLDER:
        path = weights_in(path)
        content = content_of(path)
    if content in READ:
        return path, content
    raise MptqError(f"checkpoint {path} {_REFUSED.get(content) or _other(path)}")


def _other(path: Path) -> str:
    with path.open("rb") as stream:
        start = stream.read(512)
    known = next((said for magic, said in _KNOWN.items() if start.startswith(magic)), None)
    if known is not None:
        return known
    if not start:
        return "is empty; it is truncated or corrupt, get the file again"
    if path.suffix.lower() == ".onnx":
        return "is named as an ONNX file, which has no module to calibrate; give the checkpoint that it was made from"
    return (
        "is neither a file of torch.save nor safetensors by its content; it is of another kind, or truncated or "
        "corrupt, get the file again"
    )


_KNOWN = {
    b"version https://git-lfs": "is a pointer of Git LFS, not the file itself; run git lfs pull in its folder",
    b"\x89HDF": "is HDF5, as Keras writes it; give the weights of the same model from timm or transformers",
    b"GGUF": "is GGUF, whose weights are quantized already; give the float checkpoint that it was made from",
    b"\x93NUMPY": "is an array of NumPy, not a checkpoint",
    b"<": "is a web page, not the file that it was downloaded for; it is truncated or corrupt, get the file again",
    b"\x1f\x8b": "is packed with gzip; unpack it",
}
"""What else is given for a checkpoint, by its first bytes, and what to do about it."""


def _check(asked: ModelRequest) -> None:
    checkpoint_file(Path(asked.name))


DOOR = Door(lambda _: True, _check)

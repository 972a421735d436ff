"""Which of the files in a folder are its weights, and what folders of other kinds are."""

from pathlib import Path

from mptq_export.load.file.content import Content, content_of
from mptq_export.support.errors import MptqError

WEIGHTS = (
    *("model.safetensors.index.json", "model.safetensors", "pytorch_model.bin.index.json", "pytorch_model.bin"),
    *("open_clip_model.safetensors", "open_clip_pytorch_model.bin"),
)
"""Names that libraries give them, the first to be taken."""
READ = frozenset(
    {Content.TORCH_ZIP, Content.TORCH_LEGACY, Content.PICKLE, Content.SAFETENSORS, Content.INDEX, Content.NPZ}
)
"""What `checkpoint.read_checkpoint` reads."""
_ENDINGS = ("config.json", ".index.json", ".safetensors", ".bin", ".pt", ".pth", ".ckpt")
_RECIPE = ".recipe.safetensors"
"""Of an export, which may lie in the folder too."""
_MOST = 1000
"""Files that are looked at; no folder of a model has more."""


def weights_in(folder: Path) -> Path:
    """The file with the weights: one of `WEIGHTS`, or the only one that is a checkpoint by its content.

    Raises:
        MptqError: there is none, there are several, or the folder is of another kind.
    """
    named = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if named is not None:
        return named
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file())[:_MOST]
    except OSError as error:
        raise MptqError(f"{folder} cannot be read ({error.strerror}); check its permissions") from error
    names = {path.name for path in files}
    if ".metadata" in names or any(path.suffix == ".distcp" for path in files):
        raise MptqError(
            f"checkpoint {folder} is a distributed checkpoint; join it to one file: python -m "
            "torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER OUT.pt"
        )
    if "zero_to_fp32.py" in names or any(name.startswith(("zero_pp_rank", "bf16_zero_pp_rank")) for name in names):
        raise MptqError(
            f"checkpoint {folder} is DeepSpeed's, with partitioned weights; join them to one file: python "
            "zero_to_fp32.py FOLDER OUT"
        )
    if "data.pkl" in names:
        raise MptqError(f"checkpoint {folder} is an unpacked archive of torch.save; name the file that was unpacked")
    found = [path for path in files if not path.name.endswith((".json", _RECIPE)) and content_of(path) in READ]
    if len(found) == 1:
        return found[0]
    if found:
        shown = ", ".join(path.name for path in found[:5])
        raise MptqError(f"checkpoint {folder} is a folder of {len(found)} checkpoints ({shown}); name one of them")
    raise MptqError(f"checkpoint {folder} is a folder without weights; name a file, or a folder that holds one")


def files_of(path: Path) -> list[Path]:
    """The files that a checkpoint may be read of: itself, or those of its folder where it is one, or an index."""
    folder = path.parent if path.name.endswith(".index.json") else path
    if not folder.is_dir():
        return [path]
    return [file for file in folder.iterdir() if file.name.endswith(_ENDINGS) and not file.name.endswith(_RECIPE)]

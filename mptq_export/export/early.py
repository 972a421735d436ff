"""Mistakes that a look at the command line and at the disk shows, found before torch is imported."""

from pathlib import Path

from mptq_export.data.arrays import ARRAY_SUFFIXES
from mptq_export.export.request import ExportRequest
from mptq_export.load.file.path import HUB, check_checkpoint_path
from mptq_export.load.inputs import check_options
from mptq_export.support.errors import MptqError


def check_inputs(request: ExportRequest) -> None:
    """Refuse what cannot be read, and options that contradict each other.

    Raises:
        MptqError: the checkpoint, the calibration inputs or the recipe are not there or of another kind.
    """
    if not request.model.startswith(HUB):
        check_checkpoint_path(Path(request.model))
    if request.recipe is not None and not request.recipe.is_file():
        what = "is a folder" if request.recipe.is_dir() else "does not exist"
        raise MptqError(
            f"cannot read the recipe {request.recipe}: it {what}; name the .recipe.json beside an exported file"
        )
    if request.calib is not None:
        _check_calibration(request.calib)
    check_options(request.model_kwargs or {}, request.inputs)


def _check_calibration(path: Path) -> None:
    if not path.exists():
        raise MptqError(f"--calib {path} does not exist; check the path")
    if not path.is_dir() and path.suffix not in ARRAY_SUFFIXES:
        raise MptqError(f"--calib {path} is neither a folder of images nor one of {', '.join(ARRAY_SUFFIXES)}")

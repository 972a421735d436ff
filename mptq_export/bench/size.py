"""Size of a model on disk."""

from pathlib import Path

import onnx
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from mptq_export.support.errors import MptqError


def file_bytes(path: Path) -> int:
    """Size of an ONNX file and of the files beside it that hold its weights.

    Args:
        path: a file that can be loaded.

    Raises:
        MptqError: a file of weights is gone.
    """
    model = onnx.load(path, load_external_data=False)
    beside = {
        path.parent / ExternalDataInfo(tensor).location
        for tensor in model.graph.initializer
        if uses_external_data(tensor)
    }
    try:
        return sum(file.stat().st_size for file in {path, *beside})
    except OSError as error:
        raise MptqError(f"cannot read {error.filename}, which {path} needs: {error.strerror}; put it back") from error

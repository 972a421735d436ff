"""A file held against a profile: it is read, and nothing is run."""

from dataclasses import replace
from pathlib import Path

import onnx
from onnx.external_data_helper import uses_external_data

from mptq_export.profile.check import check_profile
from mptq_export.profile.report import ProfileReport
from mptq_export.verify.onnx_file import load_onnx


def verify_profile(path: str | Path) -> ProfileReport:
    """Hold any ONNX file against the rules of `sonnx`.

    Args:
        path: the file.

    Returns:
        Every rule with what breaks it, and every exception.

    Raises:
        MptqError: the file cannot be read.
    """
    model = load_onnx(Path(path))
    named = onnx.load_model(path, load_external_data=False)
    external = [tensor.name for tensor in named.graph.initializer if uses_external_data(tensor)]
    return replace(check_profile(model, external), model=str(path))

"""What form a file is of: the exact one is made for onnxruntime's CPU kernels, and accelerators refuse it."""

from collections.abc import Mapping
from pathlib import Path

from mptq_export.recipe.onnx_contents import CONTENTS_KEY
from mptq_export.runtime.edge.opening import edge_runtime
from mptq_export.support.errors import MptqError

FORM_KEY = "mptq.form"
"""Metadata of a file that is not of the exact form."""

TARGET_KEY = "mptq.target"
"""Metadata that names what a file was exported for."""


def check_form(model: Path, metadata: Mapping[str, str], runtime: str) -> None:
    """Refuse a file of the exact form where a runtime is known not to take it, before trying.

    Args:
        model: the file.
        metadata: its own.
        runtime: where it is to run.

    Raises:
        MptqError: it is one; the message says why it will not run, and how to export one that does.
    """
    row = edge_runtime(runtime)
    exact = CONTENTS_KEY in metadata and FORM_KEY not in metadata  # a file of another program is just tried
    if exact and row.no_exact:
        raise MptqError(
            f"{model} is of the exact form, which {row.title} does not run: {row.no_exact}; export the portable form: "
            f"mptq-export CHECKPOINT --target {row.target}"
        )

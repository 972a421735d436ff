"""A detector of two stages: after the first file those of its heads, each on what the files before it cut out."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mptq_export.data.preprocessing import Preprocessing
from mptq_export.detect.glue import Network, Networks
from mptq_export.export.build import Build
from mptq_export.export.outputs import Outputs
from mptq_export.recipe.onnx_contents import contents_digest
from mptq_export.recipe.store import recipe_paths
from mptq_export.report.paths import evidence_path
from mptq_export.report.result import ExportResult
from mptq_export.runtime.any_batch import run_any
from mptq_export.runtime.graph_input import graph_input
from mptq_export.runtime.pixels import file_inputs
from mptq_export.runtime.session import open_session
from mptq_export.support.progress import Progress

ExportOne = Callable[[Build, Outputs], ExportResult]
"""Builds and writes one file."""


def export_with_heads(ready: Build, outputs: Outputs, export_one: ExportOne, progress: Progress) -> ExportResult:
    """Write the file of a model, and of a detector of two stages those of its heads.

    Args:
        ready: what the files are built from.
        outputs: of the first.
        export_one: writes one.
        progress: hears how far it is.

    Raises:
        MptqError: one cannot be proved or written; then those that were written before it are removed.
    """
    if not ready.heads:
        return export_one(ready, outputs)
    heads: Sequence[Build] = ready.heads
    begun = {outputs: _stamp(outputs.onnx)}
    try:
        first = export_one(ready, outputs)
        networks = Networks(file_network(outputs.onnx, ready.loaded.preprocessing))
        written: list[ExportResult] = []
        for number, head in enumerate(heads):
            detector = head.loaded.detector
            assert detector is not None
            own = replace(outputs.of_part(detector.part), first_stage=contents_digest(first.recipe.contents))
            begun[own] = _stamp(own.onnx)
            written.append(export_one(ready.head(number, networks, progress), own))
            if detector.part == "box":
                networks = replace(networks, box=file_network(own.onnx, head.loaded.preprocessing))
    except BaseException:
        for each, before in begun.items():
            if _stamp(each.onnx) != before:
                _remove(each)
        raise
    return replace(first, heads=tuple(written))


def file_network(path: Path, preprocessing: Preprocessing) -> Network:
    """A finished file as the glue calls it, for inputs of the calibration."""
    session = open_session(path)
    spec, names = graph_input(session), [each.name for each in session.get_outputs()]

    def run(inputs: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        return run_any(session, names, spec, file_inputs(inputs, spec, preprocessing))

    return run


def _stamp(path: Path) -> tuple[int, int] | None:
    """What tells a file from one that replaced it; None where there is none."""
    found = path.stat() if path.exists() else None
    return None if found is None else (found.st_ino, found.st_mtime_ns)


def _remove(outputs: Outputs) -> None:
    """A file of a detector that has no others: whoever found it would take it for a whole one."""
    for path in (outputs.onnx, *recipe_paths(outputs.onnx), evidence_path(outputs.onnx)):
        path.unlink(missing_ok=True)

"""One exported file and a few inputs in, a verification kit out: of either form."""

import tempfile
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray

from mptq_export.kit.contents import kit_contents
from mptq_export.kit.folder import KIT_FOLDER
from mptq_export.kit.golden import golden_run
from mptq_export.kit.portable.contents import portable_contents
from mptq_export.kit.portable.golden import portable_run
from mptq_export.kit.probes import find_probes, probe_suffix
from mptq_export.runtime.edge.form import FORM_KEY
from mptq_export.runtime.edge.qnn_context import make_context
from mptq_export.support.errors import MptqError
from mptq_export.verify.onnx_file import load_onnx, metadata_of

RUNNERS = ("README.md", "check.mjs", "index.html", "page.mjs", "run.cpp", "run.mjs", "run.py")
"""Files that every kit of an exact file holds as they are."""

PORTABLE_RUNNERS = ("README.md", "check.py", "run.py", "run_openvino.py", "run_qnn.cpp", "run_qnn.py")
"""Files that every kit of a portable file holds as they are."""


def write_kit(
    onnx_path: Path, inputs: Sequence[NDArray[Any]], out: Path, *, context: str | None = None, force: bool = False
) -> None:
    """Write the kit of an exported file.

    Of an exact file the golden values are those of `kernels_ref`, and onnxruntime on this machine must give the same
    ones first. Of a portable file they are what the file says, with a tolerance that is measured here.

    Args:
        onnx_path: the exported file.
        inputs: golden inputs, each as the graph takes it, batch axis included; all of one shape.
        out: the folder to write.
        context: also prepare a portable file for this SoC of Qualcomm's, by name or number; None for none.
        force: replace a kit that is there.

    Raises:
        MptqError: the folder cannot be written, the file is not ONNX, the inputs do not fit, the values differ, or HTP
            does not take the file whole. Nothing is left half written.
    """
    KIT_FOLDER.check(out, force=force)
    model = load_onnx(onnx_path)
    if FORM_KEY in metadata_of(model):
        KIT_FOLDER.write(out, _portable_files(onnx_path, model, inputs, context))
        return
    if context is not None:
        raise MptqError(f"no context binary of {onnx_path}: it is of the exact form; export it with --target qnn")
    KIT_FOLDER.write(out, exact_files(onnx_path, model, inputs))


def exact_files(onnx_path: Path, model: onnx.ModelProto, inputs: Sequence[NDArray[Any]]) -> dict[str, bytes]:
    """Every file of the kit of an exact file, by path in the folder.

    Args:
        onnx_path: the exported file.
        model: the same, read.
        inputs: as for `write_kit`.

    Raises:
        MptqError: the inputs do not fit, or the values differ.
    """
    data = onnx_path.read_bytes()
    probes = find_probes(model)
    suffix = probe_suffix(probes)
    with tempfile.TemporaryDirectory() as folder:
        probed = Path(folder) / onnx_path.name
        probed.write_bytes(data + suffix)
        run = golden_run(onnx_path, probed, probes, inputs)
    return {**_runners(RUNNERS), **kit_contents(run, data, suffix)}


def _portable_files(
    path: Path, model: onnx.ModelProto, inputs: Sequence[NDArray[Any]], context: str | None
) -> dict[str, bytes]:
    """Every file of the kit of a portable file."""
    with tempfile.TemporaryDirectory() as folder:
        run = portable_run(path, model, inputs, Path(folder))
    prepared = None if context is None else make_context(path, context)
    contents = portable_contents(run, path.read_bytes(), metadata_of(model), prepared)
    return {**_runners(PORTABLE_RUNNERS, "portable"), **contents}


def _runners(names: Sequence[str], *folder: str) -> dict[str, bytes]:
    place = files("mptq_export.kit").joinpath("runners", *folder)
    return {name: (place / name).read_bytes() for name in names}

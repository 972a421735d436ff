"""One exported file and a few inputs in, a verification kit out."""

import tempfile
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mptq_export.kit.contents import kit_contents
from mptq_export.kit.folder import check_kit_folder, write_folder
from mptq_export.kit.golden import golden_run
from mptq_export.kit.probes import find_probes, probe_suffix
from mptq_export.verify.onnx_file import load_onnx

RUNNERS = ("README.md", "check.mjs", "index.html", "page.mjs", "run.cpp", "run.mjs", "run.py")
"""Files that every kit holds as they are."""


def write_kit(onnx_path: Path, inputs: Sequence[NDArray[Any]], out: Path, *, force: bool = False) -> None:
    """Write the kit of an exported file.

    The golden values are those of `kernels_ref`, and onnxruntime on this machine must give the same ones first.

    Args:
        onnx_path: the exported file.
        inputs: golden inputs, each as the graph takes it, batch axis included; all of one shape.
        out: the folder to write.
        force: replace a kit that is there.

    Raises:
        MptqError: the folder cannot be written, the file is not ONNX, the inputs do not fit, or the values differ.
            Nothing is left half written.
    """
    check_kit_folder(out, force=force)
    model = load_onnx(onnx_path)
    data = onnx_path.read_bytes()
    probes = find_probes(model)
    suffix = probe_suffix(probes)
    with tempfile.TemporaryDirectory() as folder:
        probed = Path(folder) / onnx_path.name
        probed.write_bytes(data + suffix)
        run = golden_run(onnx_path, probed, probes, inputs)
    runners = files("mptq_export.kit") / "runners"
    write_folder(out, {**{name: (runners / name).read_bytes() for name in RUNNERS}, **kit_contents(run, data, suffix)})

"""A context binary: the graph as Qualcomm's compiler prepared it for one SoC. A device loads it without compiling.

It is made on this machine, without the device, and lies in an ONNX file of one `EPContext` node
(`ep.context_embed_mode` 1), which onnxruntime's QNN provider opens in place of the model.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from mptq_export.runtime.edge.opening import check_runtime
from mptq_export.runtime.edge.options import EdgeOptions
from mptq_export.runtime.edge.qnn import provider_options, qnn_session
from mptq_export.runtime.edge.qnn_socs import Soc, soc_by_name
from mptq_export.runtime.edge.session import RefusedFileError
from mptq_export.runtime.graph_input import graph_input
from mptq_export.runtime.session import RUNTIME_ERRORS, error_line, run_session
from mptq_export.support.errors import MptqError
from mptq_export.support.files import check_writable, write_atomic

SOC_KEY = "mptq.context_soc"
"""Metadata of the file: the SoC that it is prepared for. All other entries are those of the model."""


@dataclass(frozen=True)
class ContextBinary:
    """A context binary.

    Attributes:
        content: bytes of the file.
        soc: what it is prepared for.
    """

    content: bytes
    soc: Soc


def make_context(model: Path, soc: str) -> ContextBinary:
    """Prepare a file for one SoC, and load it again in the simulator: it gives the file's own values, or is not made.

    Args:
        model: a portable ONNX file that HTP takes whole.
        soc: name or number (see `qnn_socs.SOCS`).

    Raises:
        RefusedFileError: HTP does not take the file whole.
        MptqError: the runtime is not installed, the SoC is not known, or other values come out after loading.
    """
    check_runtime("qnn")
    found, options = soc_by_name(soc), provider_options(EdgeOptions(soc=soc))
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "context.onnx"
        prepare = {"ep.context_enable": "1", "ep.context_file_path": str(made), "ep.context_embed_mode": "1"}
        try:
            session = qnn_session(model, options, whole=True, config=prepare)
            loaded = qnn_session(made, options, whole=True)
        except RUNTIME_ERRORS as error:
            raise RefusedFileError(
                f"no context binary of {model} for {found.name}: {error_line(error)}; mptq-verify --runtime qnn says "
                "what HTP does not take"
            ) from error
        _check_equal(model, session, loaded)
        return ContextBinary(_with_metadata(made, model, found), found)


def write_context(model: Path, out: Path, soc: str, *, force: bool = False) -> ContextBinary:
    """Write what `make_context` makes.

    Args:
        model: a portable ONNX file that HTP takes whole.
        out: the context binary, an ONNX file.
        soc: name or number of the SoC.
        force: replace an existing file.

    Raises:
        MptqError: as `make_context`, or the file cannot be written.
    """
    check_writable(out, force=force)
    made = make_context(model, soc)

    def write(path: Path) -> None:
        path.write_bytes(made.content)

    write_atomic(out, write)
    return made


def _check_equal(model: Path, session: ort.InferenceSession, loaded: ort.InferenceSession) -> None:
    """Run one random input in both.

    Raises:
        MptqError: a value differs.
    """
    spec = graph_input(session)
    shape = tuple(size if isinstance(size, int) else 1 for size in spec.shape)
    noise = np.random.default_rng(0).standard_normal(shape)
    x = (noise * 64 + 128).clip(0, 255).astype(np.uint8) if spec.dtype == "uint8" else noise.astype(spec.dtype)
    names = [entry.name for entry in session.get_outputs()]
    before, after = (run_session(each, names, {spec.name: x}) for each in (session, loaded))
    for name in names:
        if not np.array_equal(before[name], after[name]):
            raise MptqError(f"the context binary of {model} gives other values for {name} than the file; report this")


def _with_metadata(made: Path, model: Path, soc: Soc) -> bytes:
    """The file with what the model says of itself: how images become its input, its classes."""
    context = onnx.load(made)
    entries = {entry.key: entry.value for entry in onnx.load(model, load_external_data=False).metadata_props}
    onnx.helper.set_model_props(context, {**entries, SOC_KEY: soc.name})
    content: bytes = context.SerializeToString()
    return content

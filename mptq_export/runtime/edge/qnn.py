"""A file on Qualcomm's HTP, through onnxruntime's plugin provider: its simulator on x86-64, the real one on a device.

The provider is asked for the whole file first (`session.disable_cpu_ep_fallback`). Only where it refuses is the file
opened with a fallback, to read from the session's own record what is left to the CPU.
"""

import platform
import tempfile
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray

from mptq_export.runtime.edge.options import EdgeOptions
from mptq_export.runtime.edge.qnn_graph import options_to_dump, placed_in
from mptq_export.runtime.edge.qnn_socs import soc_by_name
from mptq_export.runtime.edge.session import PlacedOps, Placement, RefusedFileError, RuntimeName
from mptq_export.runtime.graph_input import graph_input
from mptq_export.runtime.session import RUNTIME_ERRORS, error_line, run_session
from mptq_export.support.silence import silent_stdout

_NAME = "qnn"
_SOURCE = "onnxruntime's record of each node's provider, and the graph that QNN built (dump_json_qnn_graph)"


class QnnSession:
    """A file open in the QNN provider; see `EdgeSession`."""

    name: RuntimeName = "qnn"

    def __init__(self, path: Path, options: EdgeOptions) -> None:
        import onnxruntime_qnn  # noqa: PLC0415  an optional package

        package = onnxruntime_qnn.build_and_package_info
        self.version = f"onnxruntime-qnn {package.__version__} (QAIRT {package.qnn_version})"
        simulated = options.backend is None and platform.machine() in {"x86_64", "AMD64"}
        self.device = ("HTP simulator" if simulated else "HTP") + (f" of {options.soc}" if options.soc else "")
        with tempfile.TemporaryDirectory() as folder:
            self._session = self._opened(path, {**provider_options(options), **options_to_dump(Path(folder))})
            self.placement = Placement((*placed_in(Path(folder)), *_left(self._session)), _SOURCE)
        if not any(placed.accelerated for placed in self.placement.ops) and not _loaded(self._session):
            raise RefusedFileError(
                f"the {self.device} takes no node of {path}; if it takes none of any file, its library did not load "
                f"({provider_options(options)['backend_path']})"
            )
        self._input = graph_input(self._session)
        self._outputs = [entry.name for entry in self._session.get_outputs()]

    def _opened(self, path: Path, provider: dict[str, str]) -> ort.InferenceSession:
        try:
            return qnn_session(path, provider, whole=True)
        except RUNTIME_ERRORS:
            pass
        try:
            return qnn_session(path, provider, whole=False)
        except RUNTIME_ERRORS as error:
            raise RefusedFileError(f"the {self.device} cannot open {path}: {error_line(error)}") from error

    def run(self, x: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Outputs by their names for one batch.

        Raises:
            MptqError: the provider fails.
        """
        return run_session(self._session, self._outputs, {self._input.name: x})

    def close(self) -> None:
        """Nothing was started for it."""


def open_qnn(path: Path, options: EdgeOptions | None = None) -> QnnSession:
    """Open a file on HTP.

    Args:
        path: the ONNX file.
        options: `backend` is the library that computes; None: the HTP library of the package.

    Raises:
        RefusedFileError: the provider refuses the file, even with what it does not take left to the CPU.
    """
    return QnnSession(path, options or EdgeOptions())


def provider_options(options: EdgeOptions) -> dict[str, str]:
    """What the provider is told of the library and of the SoC.

    Raises:
        MptqError: the SoC is not known.
    """
    import onnxruntime_qnn  # noqa: PLC0415  an optional package

    found = {"backend_path": str(options.backend or onnxruntime_qnn.get_qnn_htp_path())}
    return found if options.soc is None else {**found, "soc_model": str(soc_by_name(options.soc).number)}


def qnn_session(
    path: Path, provider: dict[str, str], *, whole: bool, config: dict[str, str] | None = None
) -> ort.InferenceSession:
    """A session of the provider.

    Args:
        path: the ONNX file.
        provider: options of the provider.
        whole: refuse a file of which the CPU would compute anything.
        config: entries of the session.

    Raises:
        RUNTIME_ERRORS: onnxruntime or the provider refuses the file.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 4
    entries = {
        "session.disable_cpu_ep_fallback": "1" if whole else "0",
        "session.record_ep_graph_assignment_info": "1",
        **(config or {}),
    }
    for key, value in entries.items():
        options.add_session_config_entry(key, value)
    batch = _free_batch(path)
    if batch is not None:  # HTP computes fixed shapes only
        options.add_free_dimension_override_by_name(batch, 1)
    with silent_stdout():  # the simulator greets
        # Codes at the borders are made there, too, so that what is left to the CPU is left by necessity.
        options.add_provider_for_devices(_devices()[:1], {"offload_graph_io_quantization": "0", **provider})
        return ort.InferenceSession(str(path), options)


def _free_batch(path: Path) -> str | None:
    """The name of the batch size that a file leaves free; None where it fixes it, or is none."""
    try:
        inputs = onnx.load(path, load_external_data=False).graph.input
    except (OSError, DecodeError):
        return None
    dims = [entry.type.tensor_type.shape.dim[:1] for entry in inputs]
    return next((first.dim_param for found in dims for first in found if first.dim_param), None)


@cache
def _devices() -> list[Any]:
    """What the provider runs on; it is registered once a process."""
    import onnxruntime_qnn  # noqa: PLC0415  an optional package

    ort.register_execution_provider_library(_NAME, onnxruntime_qnn.get_library_path())
    return [device for device in ort.get_ep_devices() if device.ep_name == _NAME]


def _loaded(session: ort.InferenceSession) -> bool:
    """Whether the provider took anything; of a context binary it builds no graph that `qnn_graph.py` could read."""
    return any(part.ep_name == _NAME for part in session.get_provider_graph_assignment_info())


def _left(session: ort.InferenceSession) -> tuple[PlacedOps, ...]:
    """The nodes that another provider took."""
    nodes = Counter(
        node.op_type
        for part in session.get_provider_graph_assignment_info()
        for node in part.get_nodes()
        if part.ep_name != _NAME
    )
    return tuple(
        PlacedOps(op, "CPU", "", count, accelerated=False, integer=None) for op, count in sorted(nodes.items())
    )

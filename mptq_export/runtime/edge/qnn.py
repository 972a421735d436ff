"""A file on Qualcomm's HTP, through onnxruntime's plugin provider: its simulator on x86-64, the real one on a device.

The provider is asked for the whole file first (`session.disable_cpu_ep_fallback`). Only where it refuses is the file
opened with a fallback, to read from the session's own record what is left to the CPU.
"""

import platform
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import onnxruntime as ort
from numpy.typing import NDArray

from mptq_export.runtime.edge.options import EdgeOptions
from mptq_export.runtime.edge.session import PlacedOps, Placement, RuntimeName
from mptq_export.runtime.graph_input import graph_input
from mptq_export.runtime.session import RUNTIME_ERRORS, error_line, run_session
from mptq_export.support.errors import MptqError
from mptq_export.support.silence import silent_stdout

_NAME = "qnn"
_SOURCE = "onnxruntime's record of which provider took each node (session.record_ep_graph_assignment_info)"


class QnnSession:
    """A file open in the QNN provider; see `EdgeSession`."""

    name: RuntimeName = "qnn"

    def __init__(self, path: Path, options: EdgeOptions) -> None:
        import onnxruntime_qnn  # noqa: PLC0415  an optional package

        package = onnxruntime_qnn.build_and_package_info
        self.version = f"onnxruntime-qnn {package.__version__} (QAIRT {package.qnn_version})"
        simulated = options.backend is None and platform.machine() in {"x86_64", "AMD64"}
        self.device = "HTP simulator" if simulated else "HTP"
        backend = options.backend or Path(onnxruntime_qnn.get_qnn_htp_path())
        try:
            self._session = _session(path, {"backend_path": str(backend)}, whole=True)
        except RUNTIME_ERRORS:
            try:
                self._session = _session(path, {"backend_path": str(backend)}, whole=False)
            except RUNTIME_ERRORS as error:
                raise MptqError(f"{self.device} cannot open {path}: {error_line(error)}") from error
        self.placement = _placement(self._session)
        self._input = graph_input(self._session)
        self._outputs = [entry.name for entry in self._session.get_outputs()]

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
        MptqError: the provider refuses the file, even with what it does not take left to the CPU.
    """
    return QnnSession(path, options or EdgeOptions())


@cache
def _devices() -> list[Any]:
    """What the provider runs on; it is registered once a process."""
    import onnxruntime_qnn  # noqa: PLC0415  an optional package

    ort.register_execution_provider_library(_NAME, onnxruntime_qnn.get_library_path())
    return [device for device in ort.get_ep_devices() if device.ep_name == _NAME]


def _session(path: Path, provider: dict[str, str], *, whole: bool) -> ort.InferenceSession:
    """A session of the provider; with `whole` it refuses a file of which the CPU would compute anything."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1" if whole else "0")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    with silent_stdout():  # the simulator greets
        options.add_provider_for_devices(_devices()[:1], provider)
        return ort.InferenceSession(str(path), options)


def _placement(session: ort.InferenceSession) -> Placement:
    """Where every node runs, as the session says it."""
    placed = Counter(
        (node.op_type, part.ep_name)
        for part in session.get_provider_graph_assignment_info()
        for node in part.get_nodes()
    )
    ops = (
        PlacedOps(op, "HTP" if provider == _NAME else "CPU", "", count, provider == _NAME, None)
        for (op, provider), count in sorted(placed.items())
    )
    return Placement(tuple(ops), _SOURCE)

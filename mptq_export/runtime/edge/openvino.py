"""A file in OpenVINO, on this CPU: in its default configuration, unless options say otherwise.

By default OpenVINO computes in bfloat16 what has no codes, wherever the CPU has that type; a file must be right both
ways, and `precision` asks for one of them.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mptq_export.runtime.edge.openvino_graph import SOURCE, node_types, placed_kernels
from mptq_export.runtime.edge.options import EdgeOptions
from mptq_export.runtime.edge.session import Placement, RefusedFileError, RuntimeName
from mptq_export.runtime.session import error_line
from mptq_export.support.errors import MptqError

_DEVICE = "CPU"


class OpenvinoSession:
    """A file open in OpenVINO; see `EdgeSession`.

    Where the batch is free, the file is compiled once for every batch size that comes: OpenVINO is slower where it
    stays free.
    """

    name: RuntimeName = "openvino"

    def __init__(self, path: Path, options: EdgeOptions) -> None:
        import openvino  # noqa: PLC0415  an optional package

        self._path, self._core = path, openvino.Core()
        self._settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if options.threads is not None:
            # Pinned threads of several sessions of a process would all stand on the same cores.
            self._settings |= {"INFERENCE_NUM_THREADS": options.threads, "ENABLE_CPU_PINNING": False}
        if options.precision is not None:
            self._settings["INFERENCE_PRECISION_HINT"] = options.precision
        self._requests: dict[int, Any] = {}
        compiled = self._compiled(1)
        self.version = f"OpenVINO {openvino.__version__.partition('-')[0]}"
        floats = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        self.device = f"CPU ({self._core.get_property(_DEVICE, 'FULL_DEVICE_NAME').strip()}, floats as {floats})"
        self.placement = Placement(
            placed_kernels(compiled.get_runtime_model().get_ordered_ops(), node_types(path)), SOURCE
        )

    def _compiled(self, batch: int) -> Any:
        """The file compiled for a batch size; its request is kept."""
        try:
            model = self._core.read_model(self._path)
            shape = model.input().get_partial_shape()
            if shape.rank.is_static and len(shape) and shape[0].is_dynamic:
                shape[0] = batch
                model.reshape(shape)
            compiled = self._core.compile_model(model, _DEVICE, self._settings)
        except RuntimeError as error:
            raise RefusedFileError(f"OpenVINO cannot open {self._path}: {_reason(error)}") from error
        self._requests[batch] = compiled.create_infer_request()
        return compiled

    def run(self, x: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Outputs by their names for one batch.

        Raises:
            MptqError: OpenVINO fails.
        """
        if len(x) not in self._requests:
            self._compiled(len(x))
        try:
            found = self._requests[len(x)].infer([np.ascontiguousarray(x)])
        except (RuntimeError, TypeError) as error:
            raise MptqError(f"OpenVINO cannot run {self._path}: {_reason(error)}; check the input's shape") from error
        return {output.get_any_name(): np.array(value) for output, value in found.items()}

    def close(self) -> None:
        """Let go of what was compiled."""
        self._requests.clear()


def open_openvino(path: Path, options: EdgeOptions | None = None) -> OpenvinoSession:
    """Open a file in OpenVINO on this CPU.

    Args:
        path: the ONNX file.
        options: `threads` is the number of them, OpenVINO's own choice where it is None; `precision` is the type of
            what has no codes, None for that of the CPU.

    Raises:
        RefusedFileError: OpenVINO refuses the file.
    """
    return OpenvinoSession(path, options or EdgeOptions())


def _reason(error: Exception) -> str:
    """OpenVINO's own words, without where in its code they were said."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(("Exception from ", "Check ", "FrontEnd API"))]
    return error_line(RuntimeError(" ".join(said or lines)))

"""Rockchip's NPUs, through the simulator of RKNN-Toolkit2.

The toolkit wants older packages than this program, so it lives in a Python environment of its own, in which a worker is
run (`workers/rknn_simulator.py`). It may print anything and it may die: whatever happens is one line here.
"""

import json
import os
import select
import signal
import subprocess
import tempfile
from importlib.resources import as_file, files
from pathlib import Path
from typing import IO, Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray

from mptq_export.runtime.edge.options import EdgeOptions
from mptq_export.runtime.edge.rknn_log import complaint_of, endless_rules, placement_of
from mptq_export.runtime.edge.session import RefusedFileError, RuntimeName
from mptq_export.support.errors import MptqError

PYTHON_VARIABLE = "MPTQ_RKNN_PYTHON"
INSTALL = (
    'python3.11 -m venv rknn && rknn/bin/pip install rknn-toolkit2 "numpy<2" "onnx<=1.18" "torch<=2.4" "setuptools<81"'
)
PLATFORM = "rk3588"
#: Seconds between two looks at the log of a toolkit that does not answer.
_PATIENCE = 10.0
_OPSETS = range(12, 20)
_SIXTEEN = (onnx.TensorProto.INT16, onnx.TensorProto.UINT16)


class RknnSession:
    """A file that is open in the simulator; see `EdgeSession`."""

    name: RuntimeName = "rknn"

    def __init__(self, path: Path, python: str, platform: str) -> None:
        self._path = path
        self._folder = tempfile.TemporaryDirectory(prefix="mptq-rknn-")
        self._process = None
        try:
            self._process = self._started(path, python, platform)
            self.version = self._reply("opening the file")["version"]
        except MptqError:
            self.close()
            raise
        self.device = f"{platform} simulator"
        self.placement = placement_of(self._log())
        self._outputs = [entry.name for entry in onnx.load(path, load_external_data=False).graph.output]

    def run(self, x: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Outputs by their names, in the shapes that the toolkit gives, for one batch as the file declares its input.

        Raises:
            RefusedFileError: the toolkit refuses, or its process dies.
        """
        given, got = (self._scratch / name for name in ("given.npz", "got.npz"))
        np.savez(given, x)
        self._ask({"run": str(given), "out": str(got)}, "running it")
        with np.load(got) as stored:
            return {name: stored[f"arr_{i}"] for i, name in enumerate(self._outputs)}

    def export(self, out: Path) -> None:
        """Write the file for a board.

        Args:
            out: where to; it appears whole or not at all.

        Raises:
            RefusedFileError: the toolkit refuses, or its process dies.
        """
        made = self._scratch / "made.rknn"
        self._ask({"export": str(made)}, "exporting it")
        beside = out.with_name(f".{out.name}.{os.getpid()}")
        try:
            beside.write_bytes(made.read_bytes())
            beside.replace(out)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise MptqError(f"{out} cannot be written: {error.strerror}") from error

    def close(self) -> None:
        """End the worker and remove what it wrote."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
        self._folder.cleanup()

    @property
    def _scratch(self) -> Path:
        return Path(self._folder.name)

    def _started(self, path: Path, python: str, platform: str) -> "subprocess.Popen[str]":
        with as_file(files("mptq_export") / "runtime" / "edge" / "workers" / "rknn_simulator.py") as worker:
            code = self._scratch / worker.name
            code.write_bytes(worker.read_bytes())
        if os.path.dirname(python):  # the worker runs in another folder; links stay, as they make a virtual environment
            python = os.path.abspath(python)
        command = [python, str(code), str(path.resolve()), platform, str(self._scratch / "log")]
        # The toolkit leaves files where it runs, and needs none of the packages that this program was told of.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                cwd=self._scratch,
                env=environment,
            )
        except OSError as error:
            raise MptqError(f"{python} cannot be run ({error.strerror}); {INSTALL}") from error

    def _ask(self, request: dict[str, str], what: str) -> None:
        assert self._process is not None
        try:
            _stream(self._process.stdin).write(json.dumps(request) + "\n")
            _stream(self._process.stdin).flush()
        except OSError:
            pass  # it has died; why stands in what it left
        self._reply(what)

    def _reply(self, what: str) -> dict[str, str]:
        assert self._process is not None
        stdout = _stream(self._process.stdout)
        while not select.select([stdout], [], [], _PATIENCE)[0]:
            if rules := endless_rules(self._log()):
                raise RefusedFileError(f"RKNN-Toolkit2 rewrites {self._path.name} for ever ({rules})")
        line = stdout.readline()
        try:
            reply: dict[str, str] = json.loads(line)
        except ValueError:
            raise RefusedFileError(f"RKNN-Toolkit2 died {what} ({self._path.name}): {self._last_words()}") from None
        if "error" in reply:
            raise _refusal(self._path, what, reply["error"], complaint_of(self._log()))
        return reply

    def _last_words(self) -> str:
        assert self._process is not None
        status = self._process.wait()
        ended = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        return "; ".join(filter(None, (ended, complaint_of(self._log()), _not_taken(self._path))))

    def _log(self) -> str:
        log = self._scratch / "log"
        return log.read_text(errors="replace") if log.exists() else ""


def open_rknn(path: Path, options: EdgeOptions) -> RknnSession:
    """Build a file for an NPU and open it in the simulator.

    Args:
        path: an ONNX file of a fixed batch.
        options: `python` of the environment that has RKNN-Toolkit2, by default the one that MPTQ_RKNN_PYTHON names;
            `soc` of the NPU, by default rk3588.

    Raises:
        RefusedFileError: the toolkit refuses the file, or dies of it; the line has its own reason.
        MptqError: there is no such environment.
    """
    python = str(options.python or os.environ.get(PYTHON_VARIABLE, ""))
    if not python:
        raise MptqError(f"RKNN-Toolkit2 needs a Python environment of its own: {INSTALL}")
    return RknnSession(path, python, (options.soc or PLATFORM).lower())


def export_rknn(path: Path, out: Path, options: EdgeOptions) -> None:
    """Write the file that a board runs.

    Args:
        path: an ONNX file of a fixed batch.
        out: the .rknn file.
        options: as for `open_rknn`.

    Raises:
        RefusedFileError: as for `open_rknn`.
        MptqError: as for `open_rknn`, or the file cannot be written.
    """
    session = open_rknn(path, options)
    try:
        session.export(out)
    finally:
        session.close()


def _refusal(path: Path, what: str, error: str, complaint: str) -> MptqError:
    if error.startswith("ModuleNotFoundError"):
        return MptqError(f"that Python has no RKNN-Toolkit2 ({error}): {INSTALL}")
    told = complaint if error.startswith("RefusedError") and complaint else error
    reasons = "; ".join(filter(None, (told, _not_taken(path))))
    return RefusedFileError(f"RKNN-Toolkit2 refuses {path.name} {what}: {reasons}")


def _not_taken(path: Path) -> str:
    """What of a file RKNN is known not to take: its own words are often those of an exception within it."""
    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, OSError):
        return ""
    found = [
        f"opset {entry.version}, of which it takes 12 to 19"
        for entry in model.opset_import
        if not entry.domain and entry.version not in _OPSETS
    ]
    foreign = sorted(
        {f"{node.domain}.{node.op_type}" for node in model.graph.node if node.domain not in ("", "ai.onnx")}
    )
    found += [f"{', '.join(foreign)}, which it does not know"] if foreign else []
    if any(tensor.data_type in _SIXTEEN for tensor in model.graph.initializer):
        found.append("16-bit codes, which it does not take")
    strides = {max(a.ints) for n in model.graph.node if n.op_type == "Conv" for a in n.attribute if a.name == "strides"}
    found += [f"a convolution of stride {stride}, where 7 is the largest" for stride in sorted(strides) if stride > 7]
    return "the file has " + " and ".join(found) if found else ""


def _stream(stream: "IO[str] | None") -> "IO[str]":
    assert stream is not None
    return stream

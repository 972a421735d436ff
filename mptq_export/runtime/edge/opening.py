"""The table of the other runtimes: what opens a file in each, and what has to be installed for it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from mptq_export.runtime.edge.openvino import open_openvino
from mptq_export.runtime.edge.options import EdgeOptions
from mptq_export.runtime.edge.qnn import open_qnn
from mptq_export.runtime.edge.rknn import INSTALL as RKNN_ENVIRONMENT
from mptq_export.runtime.edge.rknn import open_rknn
from mptq_export.runtime.edge.session import EdgeSession, RuntimeName
from mptq_export.runtime.edge.tract import INSTALL as TRACT_PACKAGE
from mptq_export.runtime.edge.tract import open_tract
from mptq_export.support.errors import MptqError

Opener = Callable[[Path, EdgeOptions], EdgeSession]


@dataclass(frozen=True)
class EdgeRuntime:
    """One runtime.

    Attributes:
        title: its name, for people.
        open: opens a file there; imports the runtime's package itself, when it is called.
        package: the module that must be there; None where it lives in an environment of its own.
        install: the command that installs it.
        target: the name of the portable form for it, as `mptq-export --target` takes it.
        no_exact: why it does not run a file of the exact form; empty where that may be tried.
        takes: the fields of `EdgeOptions` that mean something to it.
    """

    title: str
    open: Opener
    package: str | None
    install: str
    target: str
    no_exact: str = ""
    takes: frozenset[str] = frozenset()


RUNTIMES: Mapping[RuntimeName, EdgeRuntime] = {
    "qnn": EdgeRuntime(
        "Qualcomm QNN (HTP)",
        open_qnn,
        "onnxruntime_qnn",
        'pip install "mptq-export[qnn]"',
        target="qnn",
        no_exact="it adds 1.5 * 2^23 to round and sums squares in float64, for which HTP has no kernels",
        takes=frozenset({"backend", "soc"}),
    ),
    "rknn": EdgeRuntime(
        "RKNN-Toolkit2 (Rockchip)",
        open_rknn,
        None,
        RKNN_ENVIRONMENT,
        target="rknn",
        no_exact="it takes opset 12 to 19, and the exact form needs 21",
        takes=frozenset({"python", "soc"}),
    ),
    "tract": EdgeRuntime(
        "tract",
        open_tract,
        "tract",
        TRACT_PACKAGE,
        target="tract",
    ),
    "openvino": EdgeRuntime(
        "OpenVINO (Intel)",
        open_openvino,
        "openvino",
        'pip install "mptq-export[openvino]"',
        target="openvino",
        takes=frozenset({"threads", "precision"}),
    ),
}
"""A row a runtime, in the order in which messages list them."""


def edge_runtime(name: str) -> EdgeRuntime:
    """The row of a runtime, whether or not it is installed.

    Raises:
        MptqError: there is none of that name.
    """
    found = next((row for known, row in RUNTIMES.items() if known == name), None)
    if found is None:
        raise MptqError(f"--runtime {name} is not known; choose one of {', '.join(RUNTIMES)}")
    return found


def check_runtime(name: str, options: EdgeOptions | None = None) -> None:
    """Refuse a runtime that cannot be opened, before any work.

    Raises:
        MptqError: it is not known, not installed, or does not take an option; the message says what to type.
    """
    row = edge_runtime(name)
    for option in () if options is None else options.given:
        if option not in row.takes:
            takes = ", ".join(sorted(row.takes)) or "none"
            raise MptqError(f"--runtime {name} does not take the option {option}; it takes: {takes}")
    if row.package is not None and find_spec(row.package) is None:
        raise MptqError(f"--runtime {name} needs {row.title}, which is not installed; type: {row.install}")


def open_edge(name: str, path: Path, options: EdgeOptions | None = None) -> EdgeSession:
    """Open a file in a runtime.

    Args:
        name: of the runtime.
        path: the ONNX file.
        options: how; None for the runtime's own ways.

    Raises:
        MptqError: the runtime is not known or not installed, does not take an option, or refuses the file.
    """
    options = options or EdgeOptions()
    check_runtime(name, options)
    return edge_runtime(name).open(path, options)

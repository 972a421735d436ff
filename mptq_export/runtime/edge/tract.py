"""tract (Sonos): inference in Rust on the CPU, for where onnxruntime is too large; an optional package.

Its record is that of its profiler: each operator of the optimised graph, and the number type of what multiplies.
"""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray

from mptq_export.runtime.edge.options import EdgeOptions
from mptq_export.runtime.edge.session import PlacedOps, Placement, RefusedFileError, RuntimeName
from mptq_export.support.errors import MptqError

INSTALL = 'pip install "mptq-export[tract]"'
_NO_OPERATORS = {"Const", "Source"}
_MULTIPLIES = re.compile(r"FMA\((?P<numbers>[A-Z]+\d+)\)")
#: Codes in, codes out: a table of 256 entries.
_TABLE = "LookupTable"


class TractSession:
    """A file that is open in tract; see `EdgeSession`."""

    name: RuntimeName = "tract"
    device = "CPU"

    def __init__(self, path: Path) -> None:
        try:
            import tract  # noqa: PLC0415 - optional
        except ImportError as error:
            raise MptqError(f"tract is not installed: {INSTALL}") from error
        self._path = path
        self._error: type[Exception] = tract.TractError
        self.version: str = tract.version()
        try:
            self._runnable = tract.onnx().load(path).into_model().into_runnable()
            self.placement = _placement_of(self._runnable.profile_json(None))
        except self._error as error:
            raise RefusedFileError(f"tract refuses {path.name}: {_reason(error)}") from error
        self._outputs = [entry.name for entry in onnx.load(path, load_external_data=False).graph.output]

    def run(self, x: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Outputs by their names for one batch, as the file declares its input.

        Raises:
            MptqError: tract fails.
        """
        try:
            outputs = self._runnable.run([x])
        except self._error as error:
            raise MptqError(f"tract fails on {self._path.name}: {_reason(error)}") from error
        return {name: output.to_numpy() for name, output in zip(self._outputs, outputs, strict=True)}

    def close(self) -> None:
        """Nothing was started."""


def open_tract(path: Path, _options: EdgeOptions) -> TractSession:
    """Open a file in tract.

    Args:
        path: an ONNX file.

    Raises:
        RefusedFileError: tract refuses the file; the line has its own reason.
        MptqError: tract is not installed.
    """
    return TractSession(path)


def _placement_of(profile: str) -> Placement:
    kinds: Counter[tuple[str, str]] = Counter()
    for node in json.loads(profile)["nodes"]:
        if node["op_name"] not in _NO_OPERATORS:
            costs = (_MULTIPLIES.match(cost) for cost in node.get("cost", ()))
            kinds[node["op_name"], next((cost["numbers"] for cost in costs if cost), "")] += 1
    return Placement(
        tuple(
            PlacedOps(op, "CPU", numbers, count, accelerated=True, integer=_in_integers(op, numbers))
            for (op, numbers), count in sorted(kinds.items())
        ),
        "tract's profile of the optimised graph",
    )


def _in_integers(op: str, numbers: str) -> bool | None:
    """What the profile tells: a type for what multiplies, and nothing for the rest."""
    if op == _TABLE:
        return True
    return not numbers.startswith("F") if numbers else None


def _reason(error: Exception) -> str:
    """What tract says, without the stack of its own that follows."""
    return str(error).partition("Stack backtrace:")[0].partition("ModelPatch {")[0]

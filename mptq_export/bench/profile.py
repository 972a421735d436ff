"""Time of each op, from onnxruntime's own profiler."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import onnxruntime as ort
from numpy.typing import NDArray

from mptq_export.bench.op_groups import GROUPS, group_of
from mptq_export.runtime.session import open_session, run_session
from mptq_export.support.json_files import Json

#: Runs at the beginning of a trace that do not count.
WARM_UP = 2


@dataclass(frozen=True)
class OpTime:
    """All nodes of one op and one group.

    Attributes:
        op: the op of the optimised graph, such as ``QGemm``.
        group: ``matmul``, ``element-wise`` or ``data movement``.
        nodes: how many ran.
        milliseconds: what they took together in one run.
    """

    op: str
    group: str
    nodes: int
    milliseconds: float


@dataclass(frozen=True)
class Profile:
    """Where the time of one run goes, op by op.

    Attributes:
        ops: the ops, the slowest first.
        run_ms: the whole run as the profiler saw it, nodes and what lies between them. Recording makes it longer than
            a plain run, by some microseconds a node.
    """

    ops: tuple[OpTime, ...]
    run_ms: float

    @property
    def nodes(self) -> int:
        """Number of nodes that ran."""
        return sum(op.nodes for op in self.ops)

    @property
    def groups(self) -> dict[str, float]:
        """Milliseconds of each group."""
        sums: dict[str, float] = dict.fromkeys(GROUPS, 0.0)
        for op in self.ops:
            sums[op.group] += op.milliseconds
        return sums

    def to_json(self) -> dict[str, Json]:
        """The profile as plain JSON values."""
        return {
            "run_ms": self.run_ms,
            "nodes": self.nodes,
            "groups_ms": self.groups,
            "ops": [vars(op) for op in self.ops],
        }


def profile(path: Path, feed: dict[str, NDArray[Any]], *, threads: int, runs: int, folder: Path) -> Profile:
    """Run a file under the profiler; see `read_profile` for what comes back, and `record` for the arguments."""
    return read_profile(record(path, feed, threads=threads, runs=runs, folder=folder), skip=WARM_UP)


def record(path: Path, feed: dict[str, NDArray[Any]], *, threads: int, runs: int, folder: Path) -> list[dict[str, Any]]:
    """Onnxruntime's trace of some runs, `WARM_UP` of them at the beginning not asked for.

    Args:
        path: the ONNX file.
        feed: its inputs.
        threads: threads within an operator.
        runs: number of profiled runs, after two that are thrown away.
        folder: where onnxruntime may write its trace; the trace is removed.

    Raises:
        MptqError: onnxruntime cannot load or run the file.
    """
    options = ort.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "trace")
    session = open_session(path, options, threads=threads)
    names = [entry.name for entry in session.get_outputs()]
    for _ in range(WARM_UP + runs):
        run_session(session, names, feed)
    trace = Path(session.end_profiling())
    events: list[dict[str, Any]] = json.loads(trace.read_text(encoding="utf-8"))
    trace.unlink()
    return events


def read_profile(events: list[dict[str, Any]], *, skip: int) -> Profile:
    """The median over the runs of a trace, node by node.

    Where another process takes the core away, one node of one run seems to last milliseconds; a median of whole runs
    would keep such nodes.

    Args:
        events: onnxruntime's trace: the nodes of a run, then its ``model_run``; the same nodes in every run.
        skip: number of runs at the beginning that do not count.
    """
    lengths = [event["dur"] for event in events if event["name"] == "model_run"]
    time: dict[tuple[str, str], float] = {}
    count: Counter[tuple[str, str]] = Counter()
    for node, micros in node_medians(events, skip=skip):
        kind = _kind(node["args"])
        time[kind] = time.get(kind, 0.0) + micros
        count[kind] += 1
    ops = (OpTime(*kind, count[kind], micro / 1e3) for kind, micro in sorted(time.items(), key=lambda entry: -entry[1]))
    return Profile(tuple(ops), median(lengths[skip:]) / 1e3)


def node_medians(events: list[dict[str, Any]], *, skip: int) -> list[tuple[dict[str, Any], float]]:
    """Every node of a trace (its event in the first run that counts) with its median microseconds."""
    runs: list[list[dict[str, Any]]] = []
    nodes: list[dict[str, Any]] = []
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            nodes.append(event)
        elif event["name"] == "model_run":
            runs.append(nodes)
            nodes = []
    return [(same[0], median(event["dur"] for event in same)) for same in zip(*runs[skip:], strict=True)]


def _kind(node: dict[str, Any]) -> tuple[str, str]:
    """Op and group of a node."""
    shapes = [shape for entry in node.get("output_type_shape", []) for shape in entry.values()]
    return node["op_name"], group_of(node["op_name"], shapes[0] if shapes else ())

"""Time of each op, from onnxruntime's own profiler."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import onnxruntime as ort
from numpy.typing import NDArray

from mptq_export.bench.op_groups import GROUPS, Group, group_of
from mptq_export.runtime.session import open_session, run_session
from mptq_export.support.json_files import Json, load_json

_NODE = "_kernel_time"

#: Runs at the beginning of a trace that do not count.
WARM_UP = 2


@dataclass(frozen=True)
class OpTime:
    """All nodes of one op and one group.

    Attributes:
        op: the op of the optimised graph, such as ``QGemm``.
        group: what kind of work it is.
        nodes: how many ran.
        milliseconds: what they took together in one run.
    """

    op: str
    group: Group
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
    def groups(self) -> dict[Group, float]:
        """Milliseconds of each group."""
        sums: dict[Group, float] = dict.fromkeys(GROUPS, 0.0)
        for op in self.ops:
            sums[op.group] += op.milliseconds
        return sums

    def to_json(self) -> dict[str, Json]:
        """The profile as plain JSON values."""
        return {
            "run_ms": self.run_ms,
            "nodes": self.nodes,
            "groups_ms": dict[str, float](self.groups.items()),
            "ops": [vars(op) for op in self.ops],
        }


@dataclass(frozen=True)
class NodeTime:
    """One node of onnxruntime's optimised graph in one run, or in the median of several.

    Attributes:
        name: of the node.
        op: its op.
        output_shape: shape of what it gives; empty where the trace does not say.
        microseconds: what it took.
    """

    name: str
    op: str
    output_shape: tuple[int, ...]
    microseconds: float


@dataclass(frozen=True)
class Trace:
    """Runs as onnxruntime's profiler recorded them.

    Attributes:
        runs: the nodes of each run, the same ones in every run.
        lengths: microseconds of each run.
    """

    runs: tuple[tuple[NodeTime, ...], ...]
    lengths: tuple[float, ...]

    @staticmethod
    def of(events: Iterable[Mapping[str, Any]]) -> "Trace":
        """From the profiler's events: the nodes of a run, then its ``model_run``."""
        runs: list[tuple[NodeTime, ...]] = []
        lengths: list[float] = []
        nodes: list[NodeTime] = []
        for event in events:
            if event.get("cat") == "Node" and event["name"].endswith(_NODE):
                about = event["args"]
                shapes = [shape for entry in about.get("output_type_shape", []) for shape in entry.values()]
                shape = tuple(shapes[0]) if shapes else ()
                nodes.append(NodeTime(event["name"].removesuffix(_NODE), about["op_name"], shape, event["dur"]))
            elif event["name"] == "model_run":
                runs.append(tuple(nodes))
                lengths.append(event["dur"])
                nodes = []
        return Trace(tuple(runs), tuple(lengths))

    def medians(self, *, skip: int) -> list[NodeTime]:
        """Every node with its median time, without so many runs at the beginning."""
        return [
            replace(same[0], microseconds=median(node.microseconds for node in same))
            for same in zip(*self.runs[skip:], strict=True)
        ]


def profile(path: Path, feed: dict[str, NDArray[Any]], *, threads: int, runs: int, folder: Path) -> Profile:
    """Run a file under the profiler; see `read_profile` for what comes back, and `record` for the arguments."""
    return read_profile(record(path, feed, threads=threads, runs=runs, folder=folder), skip=WARM_UP)


def record(path: Path, feed: dict[str, NDArray[Any]], *, threads: int, runs: int, folder: Path) -> Trace:
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
    recorded = Path(session.end_profiling())
    events = load_json(recorded)
    recorded.unlink()
    return Trace.of(events)


def read_profile(trace: Trace, *, skip: int) -> Profile:
    """The median over the runs of a trace, node by node.

    Where another process takes the core away, one node of one run seems to last milliseconds; a median of whole runs
    would keep such nodes.

    Args:
        trace: what was recorded.
        skip: number of runs at the beginning that do not count.
    """
    time: dict[tuple[str, Group], float] = {}
    count: Counter[tuple[str, Group]] = Counter()
    for node in trace.medians(skip=skip):
        kind = (node.op, group_of(node.op, node.output_shape))
        time[kind] = time.get(kind, 0.0) + node.microseconds
        count[kind] += 1
    ops = (OpTime(*kind, count[kind], micro / 1e3) for kind, micro in sorted(time.items(), key=lambda entry: -entry[1]))
    return Profile(tuple(ops), median(trace.lengths[skip:]) / 1e3)

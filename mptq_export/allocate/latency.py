"""What every activation width costs in time, measured on this machine: one image, one thread, onnxruntime.

Weights cost the same at every width: onnxruntime unpacks them when it loads the file. Fewer than 8 activation bits cost
time (clipping, and the regions after GELU), so that a budget of time buys widths where they are cheap.
"""

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import onnx

from mptq_export.allocate.units import Widths, layers
from mptq_export.bench.inputs import feed_of
from mptq_export.bench.profile import WARM_UP, record
from mptq_export.capture.graph import Graph
from mptq_export.emit.exact.emitter import emit
from mptq_export.recipe.schema import Recipe
from mptq_export.runtime.graph_input import graph_input
from mptq_export.runtime.session import open_session

#: Plain and profiled runs of a model that count.
_RUNS = 15


@dataclass(frozen=True)
class LatencyTable:
    """Milliseconds of one image.

    Attributes:
        layers: time of a layer and what prepares its operands, by (layer, activation bits).
        other: everything else.
    """

    layers: dict[tuple[str, int], float]
    other: float

    def of(self, widths: Widths) -> float:
        """All of the model."""
        return self.other + sum(self.layers.get((layer, pair[1]), 0.0) for layer, pair in widths.items())

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"layers": [[layer, bits, ms] for (layer, bits), ms in self.layers.items()], "other": self.other}

    @staticmethod
    def from_json(data: dict[str, Any]) -> "LatencyTable":
        """What `to_json` gave."""
        return LatencyTable({(layer, bits): ms for layer, bits, ms in data["layers"]}, data["other"])


def measure_latency_table(graph: Graph, recipes: Callable[[int], Recipe], bits: Iterable[int]) -> LatencyTable:
    """Profile the model at every uniform width.

    Args:
        graph: prepared graph with the recipe's transforms.
        recipes: a recipe for a uniform activation width; only the time that it takes matters.
        bits: the widths.
    """
    names = sorted((node.name for node in layers(graph)), key=len, reverse=True)
    found: dict[tuple[str, int], float] = {}
    others: list[float] = []
    host = graph.to("cpu")
    for width in bits:
        model = emit(host, recipes(width), input_type="float32", producer="")
        total, nodes = _timed(model)
        share = min(1.0, total / sum(nodes.values()))  # a busy machine may have slowed the profiled runs alone
        for node, milliseconds in nodes.items():
            layer = next((name for name in names if node == name or node.startswith(f"{name}.")), None)
            if layer is not None:
                found[layer, width] = found.get((layer, width), 0.0) + milliseconds * share
                total -= milliseconds * share
        others.append(total)
    return LatencyTable(found, median(others))


def _timed(model: onnx.ModelProto) -> tuple[float, dict[str, float]]:
    """Median milliseconds of a run, and of every node of the optimised graph in profiled runs."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, path)
        session = open_session(path, threads=1)
        feed = feed_of(graph_input(session), 1)
        seconds = []
        for _ in range(WARM_UP + _RUNS):
            start = perf_counter()
            session.run(None, feed)
            seconds.append(perf_counter() - start)
        trace = record(path, feed, threads=1, runs=_RUNS, folder=Path(folder))
    nodes = {node.name: node.microseconds / 1e3 for node in trace.medians(skip=WARM_UP)}
    return median(seconds[WARM_UP:]) * 1e3, nodes

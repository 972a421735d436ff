"""What every activation width costs in time, measured on this machine: one image, one thread, onnxruntime.

Weights cost the same at every width: onnxruntime unpacks them when it loads the file. Fewer than 8 activation bits cost
time (clipping, and the regions after GELU), so that a budget of time buys widths where they are cheap.
"""

import json
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from mptq_export.allocate.units import Widths, layers
from mptq_export.capture.graph import Graph
from mptq_export.emit.emitter import emit
from mptq_export.recipe.schema import Recipe
from mptq_export.verify.session import open_session

#: Profiled runs of a model, after two that are thrown away.
_RUNS = 15
_WARM_UP = 2


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one image.

    Attributes:
        layers: time of a layer and what prepares its operands, by (layer, activation bits).
        other: everything else.
    """

    layers: dict[tuple[str, int], float]
    other: float

    def of(self, widths: Widths) -> float:
        """The whole model."""
        return self.other + sum(self.layers.get((layer, pair[1]), 0.0) for layer, pair in widths.items())

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"layers": [[layer, bits, ms] for (layer, bits), ms in self.layers.items()], "other": self.other}

    @staticmethod
    def from_json(data: dict[str, Any]) -> "Latency":
        """What `to_json` gave."""
        return Latency({(layer, bits): ms for layer, bits, ms in data["layers"]}, data["other"])


def measure_latency(graph: Graph, recipes: Callable[[int], Recipe], bits: Iterable[int]) -> Latency:
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
        model = emit(host, recipes(width), input_type="float32", metadata={}, producer="")
        whole, nodes = _timed(model)
        for node, milliseconds in nodes.items():
            layer = next((name for name in names if node == name or node.startswith(f"{name}.")), None)
            if layer is not None:
                found[layer, width] = found.get((layer, width), 0.0) + milliseconds
                whole -= milliseconds
        others.append(whole)
    return Latency(found, median(others))


def _timed(model: onnx.ModelProto) -> tuple[float, dict[str, float]]:
    """Median milliseconds of a run, and of every node of the optimised graph in profiled runs."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, path)
        options = ort.SessionOptions()
        options.enable_profiling = True
        options.profile_file_prefix = str(path)
        plain, profiled = open_session(path, threads=1), open_session(path, options, threads=1)
        entry = plain.get_inputs()[0]
        shape = [dim if isinstance(dim, int) else 1 for dim in entry.shape]
        feed = {entry.name: np.random.default_rng(0).standard_normal(shape, dtype=np.float32)}
        seconds = []
        for _ in range(_WARM_UP + _RUNS):
            start = perf_counter()
            plain.run(None, feed)
            seconds.append(perf_counter() - start)
            profiled.run(None, feed)
        events = json.loads(Path(profiled.end_profiling()).read_text(encoding="utf-8"))
    times: dict[str, list[float]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            times.setdefault(event["name"].removesuffix("_kernel_time"), []).append(event["dur"] / 1e3)
    return median(seconds[_WARM_UP:]) * 1e3, {name: median(values[_WARM_UP:]) for name, values in times.items()}

"""A runtime that is made up: onnxruntime on this CPU, with outputs and placement as a test says; and files for it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from PIL import Image

from mptq_export.data.preprocessing import Preprocessing
from mptq_export.runtime.edge import opening
from mptq_export.runtime.edge.opening import RUNTIMES
from mptq_export.runtime.edge.session import EdgeSession, PlacedOps, Placement, RuntimeName
from tests.qdq_graphs import save
from tests.qdq_vit import u8_vit, vit

GEMM = PlacedOps("FullyConnected", "HTP", "u8", 5, accelerated=True, integer=True)

Change = Callable[[NDArray[Any]], NDArray[Any]]


class MadeUp:
    """A session of it."""

    name: RuntimeName = "qnn"
    version = "made up 1.0"
    device = "nowhere"

    def __init__(self, path: Path, change: Change, ops: tuple[PlacedOps, ...]) -> None:
        self._session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        self._change = change
        self.placement = Placement(ops, "nobody's record")
        self.runs = 0
        self.closed = False

    def run(self, x: NDArray[Any]) -> dict[str, NDArray[Any]]:
        assert len(x) == 1
        self.runs += 1
        names = [entry.name for entry in self._session.get_outputs()]
        found = self._session.run(names, {self._session.get_inputs()[0].name: x})
        return {name: self._change(value) for name, value in zip(names, found, strict=True)}

    def close(self) -> None:
        self.closed = True


def put_runtime(
    monkeypatch: pytest.MonkeyPatch, change: Change = lambda y: y, ops: tuple[PlacedOps, ...] = (GEMM,)
) -> list[MadeUp]:
    """Put it into the table in place of qnn; gives the sessions as they are opened."""
    sessions: list[MadeUp] = []

    def opener(path: Path, _options: object) -> EdgeSession:
        sessions.append(MadeUp(path, change, ops))
        return sessions[-1]

    row = replace(RUNTIMES["qnn"], open=opener, package=None)
    monkeypatch.setattr(opening, "RUNTIMES", {**RUNTIMES, "qnn": row})
    return sessions


def write_files(folder: Path) -> Path:
    """`m.onnx`, a portable file; `float.onnx`, its float companion; `images`, five images in two class folders."""
    model = u8_vit()
    preprocessing = Preprocessing((3, 16, 16), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), crop_pct=1.0)
    entries = {**preprocessing.to_metadata(), "mptq.form": "portable", "mptq.target": "qnn"}
    onnx.helper.set_model_props(model, entries)
    save(model, folder / "m.onnx")
    graph, output = vit()
    save(graph.model(output), folder / "float.onnx")
    for number in range(5):
        pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), np.uint8)
        place = folder / "images" / str(number % 2)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{number}.png")
    return folder

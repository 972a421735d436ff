"""A file on Qualcomm's HTP simulator: whole or not, what it says about that, and what it computes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from mptq_export.runtime.edge.opening import open_edge
from mptq_export.runtime.edge.options import EdgeOptions
from mptq_export.support.errors import MptqError
from tests.qdq_graphs import Codes, FloatGraph, quantized, save

pytest.importorskip("onnxruntime_qnn", reason="the HTP simulator comes with pip install onnxruntime-qnn")

SAMPLES = np.random.default_rng(0).standard_normal((4, 8, 16)).astype(np.float32)


def product(codes: Codes) -> onnx.ModelProto:
    """x times its own transpose, in these codes throughout."""
    graph = FloatGraph((1, 8, 16))
    turned = graph.add("Transpose", "x", perm=[0, 2, 1])
    return quantized(graph, graph.add("MatMul", "x", turned), SAMPLES, lambda *_: codes, opset=21, ir=10)


def test_a_file_that_htp_takes_is_whole_and_right(tmp_path: Path):
    path = save(product(Codes("u8")), tmp_path / "m.onnx")
    session = open_edge("qnn", path)
    assert not session.placement.left
    assert {placed.where for placed in session.placement.ops} == {"HTP"}
    cpu = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (there,), (here,) = session.run(SAMPLES[:1]).values(), cpu.run(None, {"x": SAMPLES[:1]})
    np.testing.assert_allclose(there, here, atol=1.1 * np.ptp(here) / 255)  # one step


_LEFT = """
import sys
from pathlib import Path
from mptq_export.runtime.edge.opening import open_edge
print([(placed.op, placed.where) for placed in open_edge("qnn", Path(sys.argv[1])).placement.left])
"""


def test_what_htp_leaves_to_the_cpu_is_named(tmp_path: Path):
    """In a process of its own, as a command has one: in one that had opened many files the simulator failed once."""
    path = save(product(Codes("s16", symmetric=True)), tmp_path / "m.onnx")
    done = subprocess.run([sys.executable, "-c", _LEFT, path], capture_output=True, text=True, check=True)
    assert "('MatMul', 'CPU')" in done.stdout


def test_a_library_that_does_not_load_is_named(tmp_path: Path):
    path = save(product(Codes("u8")), tmp_path / "m.onnx")
    with pytest.raises(MptqError, match=r"takes no node of .* its library did not load .*nowhere\.so"):
        open_edge("qnn", path, EdgeOptions(backend=tmp_path / "nowhere.so"))


def test_a_file_that_is_none_is_one_line(tmp_path: Path):
    (tmp_path / "m.onnx").write_bytes(b"nothing")
    with pytest.raises(MptqError, match="cannot open"):
        open_edge("qnn", tmp_path / "m.onnx")

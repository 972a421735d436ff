"""The matmuls of a file alone."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from mptq_export.bench.inputs import feed_of, read_spec
from mptq_export.runtime.session import open_session, run_session
from mptq_export.support.errors import MptqError
from mptq_export.verify.kernels.runtime_graph import open_runtime_graph
from tools.bench.roofline import main, measure, single

from .command import run


def test_a_matmul_alone_gives_the_codes_that_it_gives_in_the_model(exported: Path, tmp_path: Path):
    runtime = open_runtime_graph(exported)
    feed = feed_of(read_spec(exported), 2)
    values = runtime.run_traced(feed) | feed
    ops = set()
    for node in runtime.model.graph.node:
        if node.op_type not in {"QGemm", "QLinearMatMul", "MatMulIntegerToFloat"} or node.op_type in ops:
            continue
        ops.add(node.op_type)
        model, feeds = single(node, runtime, values)
        onnx.save(model, tmp_path / "m.onnx")
        (name,) = node.output
        got = run_session(open_session(tmp_path / "m.onnx"), [name], feeds)[name]
        assert len(model.graph.node) == 1
        assert np.array_equal(got, values[name])
    assert ops == {"QGemm", "QLinearMatMul", "MatMulIntegerToFloat"}


def test_every_integer_matmul_is_in_the_floor(exported: Path):
    found, batch = measure(exported, threads=1, batch=2, rounds=2)
    assert batch == 2
    assert sum(shape.count for shape in found.shapes) == 14  # 4 linears and attention's 2 in 2 blocks, patches, head
    assert found.float_matmuls == 0
    assert found.floor_ms == pytest.approx(sum(shape.milliseconds for shape in found.shapes))
    assert found.ratio == found.whole_ms / found.floor_ms > 0


def test_a_float_file_has_no_floor(companion: Path):
    with pytest.raises(MptqError, match="no integer matmul"):
        measure(companion, threads=1, batch=1, rounds=1)


def test_the_command_line(exported: Path, tmp_path: Path):
    report = tmp_path / "r.json"
    result = run(main, exported, "--rounds", 2, "--json", report)
    assert result.exit_code == 0, result.stderr
    assert "times the floor" in " ".join(result.stdout.split())
    content = json.loads(report.read_text())
    assert (content["batch"], content["threads"], content["float_matmuls"]) == (1, 1, 0)
    assert content["ratio"] > 0 and content["shapes"][0]["count"] >= 1
    result = run(main, tmp_path / "none.onnx")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "none.onnx" in result.stderr

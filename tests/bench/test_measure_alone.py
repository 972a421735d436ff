"""A model alone in a process."""

from pathlib import Path

import pytest

from mptq_export.bench.measure_alone import measure_alone, peak_memory
from mptq_export.support.errors import MptqError


def test_load_memory_and_profile(exported: Path):
    found = measure_alone(exported, threads=1, batch=2, runs=3)
    assert found.load_ms > 0
    assert (found.peak_bytes is None) == (peak_memory() is None)
    if found.peak_bytes is not None and found.idle_bytes is not None:
        assert found.peak_bytes > found.idle_bytes > 0
    assert {op.op for op in found.profile.ops} >= {"QGemm", "QuantizeLinear"}
    assert found.profile.nodes == sum(op.nodes for op in found.profile.ops) > 20


def test_the_process_hands_its_error_over(tmp_path: Path):
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"garbage")
    with pytest.raises(MptqError, match="cannot load"):
        measure_alone(bad, threads=1, batch=1, runs=1)

"""Weights beside the file count."""

from pathlib import Path

import onnx

from mptq_export.bench.size import file_bytes


def test_one_file(companion: Path):
    assert file_bytes(companion) == companion.stat().st_size


def test_weights_beside_it(companion: Path, tmp_path: Path):
    path = tmp_path / "m.onnx"
    onnx.save(onnx.load(companion), path, save_as_external_data=True, location="m.data", size_threshold=64)
    data = tmp_path / "m.data"
    assert data.stat().st_size > 1000
    assert file_bytes(path) == path.stat().st_size + data.stat().st_size

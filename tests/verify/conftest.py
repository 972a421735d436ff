"""Files that the verification tests share."""

from pathlib import Path

import onnxruntime as ort
import pytest

from .graphs import linear_model, safe_weights, save


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """An exact file: one biased linear that runs as QGemm."""
    return save(linear_model(safe_weights()), tmp_path / "good.onnx")


@pytest.fixture
def floating(tmp_path: Path) -> Path:
    """A file whose Gemm runs in float: the weights' DQ does not name its zero point."""
    if tuple(map(int, ort.__version__.split(".")[:2])) < (1, 28):
        pytest.skip("older versions of onnxruntime make a QGemm of it that does not run")
    return save(linear_model(safe_weights(), weight_zero_point=False), tmp_path / "float.onnx")

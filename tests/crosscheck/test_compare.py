"""compare.py and cpu.py, the two files that travel."""

import platform
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tools.crosscheck.compare import differing, result
from tools.crosscheck.cpu import cpu_features


@pytest.fixture
def doubling(tmp_path: Path) -> Path:
    """A model whose logits are its (batch, 4) input plus itself."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["input", "input"], ["logits"])],
        "doubling",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 4])],
    )
    path = tmp_path / "doubling.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return path


def test_signed_zeros_differ_and_equal_nans_do_not() -> None:
    got = np.array([0.0, 1.0, np.nan], np.float32)
    assert differing(got, np.array([-0.0, 1.0, np.nan], np.float32)) == 1


def test_one_unit_in_the_last_place_is_counted() -> None:
    got = np.array([1.0, 2.0], np.float32)
    assert differing(got, np.nextafter(got, np.float32(3))) == 2


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_any_batch_size_covers_all_inputs(doubling: Path, batch: int) -> None:
    inputs = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    line = result(doubling, inputs, inputs * 2, 1, batch)
    assert (line["values"], line["differing"], line["same_top1"], line["images"]) == (20, 0, 5, 5)


def test_a_wrong_logit_is_found(doubling: Path) -> None:
    inputs = np.ones((2, 4), np.float32)
    golden = inputs * 2
    golden[1, 3] = np.nextafter(np.float32(2), np.float32(3))
    assert result(doubling, inputs, golden, 1, 1)["differing"] == 1


@pytest.mark.skipif(platform.system() != "Linux", reason="/proc/cpuinfo is Linux'")
def test_cpu_features_are_those_of_the_machine() -> None:
    flags = Path("/proc/cpuinfo").read_text().split()
    if platform.machine() == "x86_64":
        assert ("avx2" in cpu_features()) == ("avx2" in flags)
        assert ("avx512_vnni" in cpu_features()) == ("avx512_vnni" in flags)
    elif platform.machine() == "aarch64":
        assert ("neon" in cpu_features()) == ("asimd" in flags)

"""Rules of Rockchip's NPUs, as RKNN-Toolkit2's simulator keeps them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from mptq_export.runtime.edge.options import EdgeOptions
from mptq_export.runtime.edge.rknn import PYTHON_VARIABLE, RknnSession, export_rknn, open_rknn
from mptq_export.support.errors import MptqError
from tests.runtime.edge.codes_between import CodesBetween, X, Y, erf_gelu, softmax, weight_codes

pytestmark = pytest.mark.skipif(
    PYTHON_VARIABLE not in os.environ, reason=f"{PYTHON_VARIABLE} names no environment with RKNN-Toolkit2"
)


@contextmanager
def simulator(graph: CodesBetween, folder: Path) -> Iterator[RknnSession]:
    session = open_rknn(graph.write(folder / "codes.onnx"), EdgeOptions())
    try:
        yield session
    finally:
        session.close()


def steps_off(graph: CodesBetween, folder: Path) -> Any:
    """How far the simulator is from onnxruntime; every operator runs in integers on the NPU."""
    with simulator(graph, folder) as session:
        assert all(placed.integer for placed in session.placement.ops)
        inputs = graph.inputs()
        return graph.steps_off(np.stack([session.run(x)["y"] for x in inputs]), folder / "codes.onnx", inputs)


def gemm(zero_points: Any, x: int = 3, y: int = -2) -> CodesBetween:
    """A layer of 16 inputs and 32 channels without bias; its weight codes are at most 60."""
    weight = np.random.default_rng(1).integers(-60, 61, (16, 32))
    codes = weight_codes("weight", weight, np.asarray(zero_points, np.int8), axis=1)
    nodes = [codes["node"], helper.make_node("Gemm", [X, "weight"], [Y])]
    return CodesBetween(nodes, (1, 16), codes["constants"], x=(0.05, np.int8(x)), y=(0.2, np.int8(y)))


ONE_OF_32 = np.eye(1, 32)[0]


def test_a_weight_with_one_zero_point_is_exact(tmp_path: Path) -> None:
    assert not steps_off(gemm(ONE_OF_32), tmp_path).any()


def test_weights_of_zero_points_0_are_too_large_in_silence(tmp_path: Path) -> None:
    """All of them are scaled by 128/127: the toolkit takes the range of -128 to 128 for one of -127 to 127."""
    off = steps_off(gemm(np.zeros(32)), tmp_path)
    assert set(np.abs(np.rint(off)).ravel()) == {0, 1}


def test_activations_of_zero_point_0_get_another_step(tmp_path: Path) -> None:
    off = steps_off(gemm(ONE_OF_32, x=0, y=0), tmp_path)
    assert np.abs(off - np.rint(off)).max() > 0.2


def test_a_softmax_of_step_1_256_is_exact_with_either_type(tmp_path: Path) -> None:
    for zero_point in (np.uint8(0), np.int8(-128)):
        assert not steps_off(softmax(np.int8(3), zero_point), tmp_path).any()


def test_gelu_with_a_division_is_one_operator(tmp_path: Path) -> None:
    with simulator(erf_gelu(divided=True), tmp_path) as session:
        assert "Erf" not in {placed.op for placed in session.placement.ops}
        assert not session.placement.floating


def test_gelu_with_a_product_is_left_to_the_cpu(tmp_path: Path) -> None:
    with simulator(erf_gelu(divided=False), tmp_path) as session:
        assert ("Erf", "CPU", "FLOAT16") in {(op.op, op.where, op.numbers) for op in session.placement.left}


@pytest.mark.parametrize("parameters", ["codes", "float"])
def test_a_layer_norm_is_in_integers_where_its_parameters_are(tmp_path: Path, parameters: str) -> None:
    constants: dict[str, Any] = {}
    nodes = [helper.make_node("LayerNormalization", [X, "gain", "offset"], [Y], axis=-1, epsilon=1e-5)]
    for name, values in (("gain", np.linspace(60, 100, 16)), ("offset", np.linspace(-30, 30, 16))):
        if parameters == "codes":
            stored = {
                f"{name}_codes": values.astype(np.int8),
                f"{name}_step": np.float32(0.01),
                f"{name}_zero": np.int8(3),
            }
            nodes.insert(0, helper.make_node("DequantizeLinear", list(stored), [name]))
            constants |= stored
        else:
            constants[name] = values.astype(np.float32) / 100
    graph = CodesBetween(nodes, (1, 1, 8, 16), constants, x=(0.05, np.int8(3)), y=(0.03, np.int8(-5)))
    with simulator(graph, tmp_path) as session:
        assert {op.numbers for op in session.placement.ops if op.op == "exNorm"} == {
            "INT8" if parameters == "codes" else "FLOAT16"
        }


def test_a_stride_above_7_is_refused_or_kills_the_toolkit(tmp_path: Path) -> None:
    codes = weight_codes("weight", np.random.default_rng(1).integers(-60, 61, (32, 3, 8, 8)), ONE_OF_32, axis=0)
    nodes = [codes["node"], helper.make_node("Conv", [X, "weight"], [Y], strides=[8, 8])]
    graph = CodesBetween(nodes, (1, 3, 32, 32), codes["constants"], x=(0.05, np.int8(3)), y=(0.2, np.int8(-2)))
    with pytest.raises(MptqError, match="the file has a convolution of stride 8, where 7 is the largest"):
        open_rknn(graph.write(tmp_path / "codes.onnx"), EdgeOptions())


def test_what_it_does_not_take_is_named(tmp_path: Path) -> None:
    gelu = CodesBetween([helper.make_node("Gelu", [X], [Y])], (1, 16), opset=20)
    with pytest.raises(MptqError, match="Unsupport onnx opset 20, need <= 19!; the file has opset 20"):
        open_rknn(gelu.write(tmp_path / "codes.onnx"), EdgeOptions())
    gelu = CodesBetween([helper.make_node("Gelu", [X], [Y], domain="com.microsoft")], (1, 16))
    with pytest.raises(MptqError, match=r"the file has com\.microsoft\.Gelu, which it does not know"):
        open_rknn(gelu.write(tmp_path / "codes.onnx"), EdgeOptions())
    sixteen = CodesBetween([helper.make_node("Relu", [X], [Y])], (1, 16), y=(0.001, np.int16(0)), opset=19)
    with pytest.raises(MptqError, match="the file has 16-bit codes"):
        open_rknn(sixteen.write(tmp_path / "codes.onnx"), EdgeOptions())


def test_the_file_for_a_board_is_written(tmp_path: Path) -> None:
    path = gemm(ONE_OF_32).write(tmp_path / "codes.onnx")
    export_rknn(path, tmp_path / "codes.rknn", EdgeOptions())
    assert (tmp_path / "codes.rknn").read_bytes()[:4] == b"RKNN"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["codes.onnx", "codes.rknn"]


def test_an_input_of_another_shape_is_refused(tmp_path: Path) -> None:
    with simulator(gemm(ONE_OF_32), tmp_path) as session, pytest.raises(MptqError, match=r"running it: .*shape"):
        session.run(np.zeros((1, 15), np.float32))


def test_version_and_device_are_named(tmp_path: Path) -> None:
    with simulator(gemm(ONE_OF_32), tmp_path) as session:
        assert session.version[0].isdigit()
        assert session.device == "rk3588 simulator"
        assert session.placement.source

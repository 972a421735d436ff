"""Codes in few passes, and parameters that are worked out once, against plain arithmetic."""

from typing import Any

import numpy as np
import onnx
import pytest
from integer_models import Array, assert_same_bits, model, node
from onnx import TensorProto, helper, numpy_helper

from kernels_ref import Interpreter, InterpreterError
from kernels_ref.ops.quantize_linear import to_codes
from kernels_ref.weight import constant_weight

RNG = np.random.default_rng(4)
HALVES = np.arange(-1200, 1200, dtype=np.float32) / 4
NEXT = np.concatenate([np.nextafter(HALVES, np.float32(s * 1e9)) for s in (-1, 1)])
FAR = np.asarray([s * x for s in (-1, 1) for x in (2.0**22, 2.0**23 + 1, 2.0**24, 1e30, np.inf)], np.float32)
VALUES = np.concatenate([HALVES, NEXT, FAR])


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint16, np.int16])
@pytest.mark.parametrize("in_place", [False, True])
def test_codes_are_rounded_halves_to_even_and_saturate(kind: type, in_place: bool):
    limits = np.iinfo(kind)
    for zero in {limits.min, limits.max, 0, 1, 117}:
        got = to_codes(VALUES.copy(), np.asarray(zero, kind), in_place=in_place)
        wide = np.clip(np.rint(VALUES.astype(np.float64)), -1e9, 1e9).astype(np.int64) + zero
        assert got.dtype == kind
        assert (got == wide.clip(limits.min, limits.max)).all()


def test_the_input_is_left_alone_unless_told():
    x = VALUES.copy()
    to_codes(x, np.asarray(3, np.uint8))
    assert (x == VALUES).all()
    assert to_codes(np.asarray(2.5, np.float32), np.asarray(250, np.uint8)) == 252


@pytest.mark.parametrize("zero", [0, 117, 255])
@pytest.mark.parametrize(
    ("bias", "with_ones"), [(1000, True), (2**24 - 1 - 255 * 640, True), (2**24 - 255 * 640, False)]
)
def test_a_row_of_constants_up_to_the_bound(zero: int, bias: int, with_ones: bool):
    """The greatest sum of weights times codes is 255 * 640; the zero point's share is part of the constants."""
    w = np.asarray([[127], [127], [127], [127], [127], [5], [-127], [-127]], np.float32)
    w = np.concatenate([w, [[-386.0]]]).astype(np.float32)  # the sum is 0: no share of the zero point
    assert w.sum() == 0
    for sign in (1, -1):
        weight = constant_weight(w, (0, 255), zero, np.asarray([sign * bias], np.int32))
        assert weight.with_ones == with_ones
        a = np.stack([np.where(w[:, 0] > 0, 255, 0), np.where(w[:, 0] > 0, 0, 255), RNG.integers(0, 256, 9)])
        exact = ((a - zero) @ w.astype(np.int64)) + sign * bias
        factor = np.concatenate([a, np.ones((3, 1))], 1) if with_ones else a - zero
        assert (weight.accumulate(factor.astype(np.float32)) == exact.astype(np.float32)).all()


@pytest.mark.parametrize("zero", [0, 117, 255])
def test_the_zero_point_counts_towards_the_bound(zero: int):
    w = np.full((300, 1), 127, np.float32)
    a = RNG.integers(0, 256, (4, 300))
    for bias in (0, 2**24 - 255 * 127 * 300 - 1, 2**24 - 255 * 127 * 300, -(2**24), 2**31 - 2**24):
        weight = constant_weight(w, (0, 255), zero, np.asarray([bias], np.int32))
        assert weight.with_ones == (255 * 127 * 300 + abs(bias - zero * 127 * 300) < 2**24)
        factor = np.concatenate([a, np.ones((4, 1))], 1) if weight.with_ones else a - zero
        exact = (a - zero) @ w.astype(np.int64) + bias
        assert (weight.accumulate(factor.astype(np.float32)) == exact.astype(np.float32)).all()


X = RNG.integers(0, 256, (2, 3, 4), np.uint8)
BOUND: list[tuple[str, dict[str, Array], dict[str, Any], int]] = [
    ("Reshape", {"p": np.asarray([4, -1], np.int64)}, {}, 1),
    ("Reshape", {"p": np.asarray([0, 12], np.int64)}, {}, 1),
    ("Transpose", {}, {"perm": [2, 0, 1]}, 1),
    ("Transpose", {}, {}, 1),
    ("Split", {"p": np.asarray([1, 2], np.int64)}, {"axis": 1}, 2),
    ("Split", {"p": np.asarray([3, 0, 1], np.int64)}, {"axis": -1}, 3),
    ("Split", {"p": np.asarray([1, 1], np.int64)}, {"axis": -3}, 2),
    ("Split", {}, {"axis": 2, "num_outputs": 2}, 2),
]


@pytest.mark.parametrize(("op", "constants", "attributes", "outputs"), BOUND)
def test_constant_parameters(op: str, constants: dict[str, Array], attributes: dict[str, Any], outputs: int):
    names = [f"y{index}" for index in range(outputs)]
    nodes = [helper.make_node(op, ["x", *constants], names, op, **attributes)]
    assert_same_bits(model(nodes, {"x": X}, dict.fromkeys(names, TensorProto.UINT8), constants), {"x": X})


@pytest.mark.parametrize("scale", [1.0, 0.37])
@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.int16])
def test_a_bound_quantization_leaves_its_input_alone(scale: float, kind: type):
    x = RNG.normal(size=(9, 9)).astype(np.float32) * 90
    nodes = [node("Abs", "x", "y"), node("QuantizeLinear", "y s z", "q"), node("Neg", "y", "n")]
    outputs = {"q": {np.uint8: 2, np.int8: 3, np.int16: 5}[kind], "n": TensorProto.FLOAT}
    proto = model(nodes, {"x": x}, outputs, {"s": np.float32(scale), "z": kind(7)})
    assert_same_bits(proto, {"x": x})


def test_a_cast_of_codes_serves_the_product_as_well():
    a, b = RNG.integers(0, 256, (2, 5, 8), np.uint8), RNG.integers(0, 256, (2, 8, 3), np.uint8)
    nodes = [
        node("Cast", "a", "af", to=TensorProto.FLOAT),
        node("ReduceSum", "af axes", "sum"),
        node("DequantizeLinear", "a sa za", "ad"),
        node("DequantizeLinear", "b sb zb", "bd"),
        node("MatMul", "ad bd", "y"),
    ]
    constants = {"sa": np.float32(0.5), "za": np.uint8(0), "sb": np.float32(0.25), "zb": np.uint8(128)}
    constants["axes"] = np.asarray([-1], np.int64)
    proto = model(nodes, {"a": a, "b": b}, {"sum": TensorProto.FLOAT, "y": TensorProto.FLOAT}, constants)
    assert_same_bits(proto, {"a": a, "b": b})
    assert sum("\0" in name for step in Interpreter(proto)._steps for name in step.outputs) == 1


def attention(read_codes: bool) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """q k^T of two cuts of one tensor; k's codes are an output as well where asked for."""
    x = RNG.integers(0, 256, (2, 5, 24), np.uint8)
    nodes = [
        helper.make_node("Split", ["x", "sizes"], ["q", "k"], "cut", axis=-1),
        node("Reshape", "q heads", "qh"),
        node("Transpose", "qh", "qt", perm=[0, 2, 1, 3]),
        node("Transpose", "k", "kt", perm=[0, 2, 1]),
        node("Reshape", "kt columns", "kh"),
        node("DequantizeLinear", "qt s z", "qf"),
        node("DequantizeLinear", "kh s z", "kf"),
        node("MatMul", "qf kf", "y"),
    ]
    constants = {"sizes": np.asarray([12, 12], np.int64), "heads": np.asarray([-1, 5, 3, 4], np.int64)}
    constants |= {"columns": np.asarray([-1, 3, 4, 5], np.int64), "s": np.float32(0.25), "z": np.uint8(128)}
    outputs = {"y": TensorProto.FLOAT} | ({"kh": TensorProto.UINT8} if read_codes else {})
    return model(nodes, {"x": x}, outputs, constants), {"x": x}


@pytest.mark.parametrize("read_codes", [False, True])
def test_codes_become_floats_before_they_are_moved(read_codes: bool):
    proto, feeds = attention(read_codes)
    trace = assert_same_bits(proto, feeds)
    q, k = (trace[name].astype(np.int64) - 128 for name in ("qt", "kh"))
    assert (trace["y"] == (q @ k).astype(np.float32) * np.float32(0.0625)).all()
    made = [name for step in Interpreter(proto)._steps for name in step.outputs]
    assert made.count("kh") == read_codes
    assert sum(name.startswith("x\0") for name in made) == 1  # the whole tensor, once for both


def test_two_zero_points_for_one_tensor():
    proto, feeds = attention(read_codes=False)
    proto.graph.node[6].input[2] = "other"
    proto.graph.initializer.append(numpy_helper.from_array(np.asarray(np.uint8(7)), "other"))
    assert_same_bits(proto, feeds)


def test_a_shape_that_does_not_fit_is_the_moving_node_s_error():
    proto, feeds = attention(read_codes=False)
    with pytest.raises(InterpreterError, match="Reshape node qh cannot be computed"):
        Interpreter(proto).run({"x": feeds["x"][:, :4]})
    with pytest.raises(InterpreterError, match="Split node cut: 20 elements cannot be split"):
        Interpreter(proto).run({"x": feeds["x"][..., :20]})

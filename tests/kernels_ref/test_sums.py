"""Sums over the last axis that BLAS does, and when it must not."""

import numpy as np
import onnx
import pytest
from integer_models import Array, assert_same_bits, model, node
from onnx import TensorProto

from kernels_ref import Interpreter
from kernels_ref.sums import LastAxisSum

RNG = np.random.default_rng(8)
AXES = {"axes": np.asarray([-1], np.int64)}
CODES = [node("Cast", "x", "f", to=TensorProto.FLOAT), node("ReduceSum", "f axes", "sum")]
SQUARES = [
    node("Round", "x", "r"),
    node("Cast", "r", "wide", to=TensorProto.DOUBLE),
    node("Mul", "wide wide", "square"),
    node("ReduceSum", "square axes", "sum"),
]


def sums(proto: onnx.ModelProto) -> list[LastAxisSum]:
    return [step.compute for step in Interpreter(proto)._steps if isinstance(step.compute, LastAxisSum)]


def of_codes(x: Array) -> onnx.ModelProto:
    return model(CODES, {"x": x}, {"sum": TensorProto.FLOAT}, AXES)


def of_squares(x: Array) -> onnx.ModelProto:
    return model(SQUARES, {"x": x}, {"sum": TensorProto.DOUBLE}, AXES)


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
def test_a_sum_of_codes(kind: type):
    x = RNG.integers(np.iinfo(kind).min, np.iinfo(kind).max + 1, (3, 5, 197)).astype(kind)
    proto = of_codes(x)
    (found,) = sums(proto)
    assert found.add(x.astype(np.float32)) is not None
    trace = assert_same_bits(proto, {"x": x})
    assert (trace["sum"] == x.sum(-1, keepdims=True, dtype=np.int64)).all()


# 255 * 65793 = 2^24 - 1.
@pytest.mark.parametrize(("length", "by_blas"), [(65793, True), (65794, False), (65795, False)])
def test_a_sum_of_codes_at_the_bound(length: int, by_blas: bool):
    x = np.full((2, length), 255, np.uint8)
    proto = of_codes(x)
    (found,) = sums(proto)
    assert (found.add(x.astype(np.float32)) is not None) == by_blas
    assert Interpreter(proto).run({"x": x})["sum"].tolist() == [[np.float32(255 * length)]] * 2


def test_a_sum_of_floats_is_not_taken_for_one_of_codes():
    x = RNG.normal(size=(4, 300)).astype(np.float32)
    proto = model(
        [node("Cast", "x", "f", to=TensorProto.FLOAT), node("ReduceSum", "f axes", "sum")],
        {"x": x},
        {"sum": TensorProto.FLOAT},
        AXES,
    )
    assert sums(proto) == []


@pytest.mark.parametrize("axes", [[0], [1], [-2], [-1, -2]])
def test_other_axes_are_summed_plainly(axes: list[int]):
    x = RNG.integers(0, 256, (5, 7), np.uint8)
    proto = model(CODES, {"x": x}, {"sum": TensorProto.FLOAT}, {"axes": np.asarray(axes, np.int64)})
    assert sums(proto) == []
    assert_same_bits(proto, {"x": x})


@pytest.mark.parametrize("keepdims", [0, 1])
def test_a_sum_of_squares(keepdims: int):
    x = (RNG.normal(size=(2, 7, 192)) * 2**14).astype(np.float32)
    proto = of_squares(x)
    proto.graph.node[3].attribute.append(onnx.helper.make_attribute("keepdims", keepdims))
    assert len(sums(proto)) == 1
    trace = assert_same_bits(proto, {"x": x})
    exact = (np.rint(x).astype(np.int64) ** 2).sum(-1, keepdims=bool(keepdims))
    assert (trace["sum"] == exact).all()


@pytest.mark.parametrize(("greatest", "by_blas"), [(2**21 - 1, True), (2**21, False), (2**23, False)])
def test_a_sum_of_squares_at_the_bound(greatest: int, by_blas: bool):
    x = np.full((3, 1024), greatest, np.float32)  # 2^42 * 2^10 = 2^52
    (found,) = sums(of_squares(x))
    assert (found.add(x) is not None) == by_blas
    (alone,) = found(x)
    assert (alone == np.float64(1024 * greatest**2)).all()


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_squares_that_are_not_finite(value: float):
    x = RNG.normal(size=(3, 64)).astype(np.float32)
    x[1, 5] = value
    interpreter = Interpreter(of_squares(x))
    got, trace = interpreter.run({"x": x})["sum"], interpreter.run({"x": x}, trace=True)["sum"]
    np.testing.assert_array_equal(got, trace)


def test_squares_of_fractions_are_not_whole():
    proto = of_squares(RNG.normal(size=(3, 64)).astype(np.float32))
    proto.graph.node[0].op_type = "Abs"
    assert sums(proto) == []


@pytest.mark.parametrize("shape", [(192,), (0, 5), (5, 0)])
@pytest.mark.parametrize("make", [of_codes, of_squares])
def test_shapes_at_an_end(shape: tuple[int, ...], make: object):
    assert callable(make)
    x = np.full(shape, 3, np.uint8 if make is of_codes else np.float32)
    interpreter = Interpreter(make(x))
    got, trace = interpreter.run({"x": x})["sum"], interpreter.run({"x": x}, trace=True)["sum"]
    assert got.dtype == trace.dtype and got.tobytes() == trace.tobytes() and got.shape == trace.shape

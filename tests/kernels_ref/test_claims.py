"""Which results come with a claim of equal bits, and which values a tensor can have."""

from typing import Any

import numpy as np
import onnx
import pytest
from integer_models import Array, model
from onnx import TensorProto, helper

from kernels_ref import Interpreter
from kernels_ref.ops.table import CLAIMS, OPS

F32 = np.float32
X = np.random.default_rng(0).standard_normal((4, 6)).astype(F32)
WHOLE = np.rint(X * 100)


def one(op: str, *inputs: Array, **attributes: Any) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """A model of one node; its first input is fed, the others are constants."""
    names = [f"x{index}" for index in range(len(inputs))]
    kept = dict(zip(names, inputs, strict=True))
    feeds = {"x0": kept.pop("x0")}
    proto = model([helper.make_node(op, names, ["y"], op, **attributes)], feeds, {"y": 0}, kept, 21)
    return onnx.shape_inference.infer_shapes(proto, strict_mode=True), feeds


def unclaimed(op: str, *inputs: Array, **attributes: Any) -> str:
    proto, feeds = one(op, *inputs, **attributes)
    interpreter = Interpreter(proto)
    interpreter.run(feeds)
    assert not interpreter.unclaimed  # a plain run looks for nothing
    interpreter.run(feeds, trace=True)
    return interpreter.unclaimed.get("y", "")


def test_every_op_says_when_it_claims_equal_bits():
    assert CLAIMS.keys() == OPS.keys()


AXIS = np.asarray([-1])
CLAIMED: list[tuple[str, tuple[Array, ...], dict[str, Any]]] = [
    ("Add", (X, X), {}),
    ("Div", (X, X), {}),
    ("Sqrt", (np.abs(X),), {}),
    ("Cast", (X * 50,), {"to": TensorProto.INT8}),
    ("Cast", (WHOLE.astype(np.int32),), {"to": TensorProto.UINT8}),
    ("Cast", (np.rint(X),), {"to": TensorProto.INT4}),
    ("ReduceSum", (WHOLE, AXIS), {}),
    ("ReduceSum", (WHOLE / 1024, AXIS), {}),
    ("ReduceSum", (WHOLE.astype(np.int32), AXIS), {}),
    ("ReduceSum", (np.full((2, 8), 2**50, np.float64), AXIS), {}),
    ("ReduceMax", (X, AXIS), {}),
    ("ReduceMax", (np.asarray([[0.0, -0.0, 1.0]], F32), AXIS), {}),
    ("Max", (X, X[::-1]), {}),
    ("Max", (np.asarray([-0.0, 1.0], F32), np.asarray([-0.0, 0.0], F32)), {}),
    ("Relu", (X,), {}),
    ("Clip", (np.asarray([-0.0, 2.0], F32), F32(-1), F32(1)), {}),
    ("Pow", (X, F32(2)), {}),
    ("Where", (X > 0, X, X), {}),
]
NOT_CLAIMED: list[tuple[str, tuple[Array, ...], dict[str, Any], str]] = [
    ("Exp", (X,), {}, "function"),
    ("Gelu", (X,), {}, "function"),
    ("Softmax", (X,), {}, "function"),
    ("LayerNormalization", (X, np.ones(6, F32)), {}, "order"),
    ("MatMul", (X, X.T.copy()), {}, "order"),
    ("Cast", (X * 500,), {"to": TensorProto.INT8}, "outside of int8"),
    ("Cast", (np.asarray([1.5], F32),), {"to": TensorProto.INT4}, "fraction"),
    ("Cast", (np.asarray([9], F32),), {"to": TensorProto.INT4}, "outside of int4"),
    ("Cast", (np.asarray([np.inf], F32),), {"to": TensorProto.INT32}, "outside of int32"),
    ("ReduceSum", (X, AXIS), {}, "order"),
    ("ReduceSum", (np.asarray([[2**24, 1, 1]], F32), AXIS), {}, "order"),
    ("ReduceMean", (X, AXIS), {}, "order"),
    ("ReduceMax", (np.asarray([[0.0, -0.0, -1.0]], F32), AXIS), {}, "-0.0"),
    ("Max", (np.asarray([-0.0, 1.0], F32), np.asarray([0.0, 0.0], F32)), {}, "-0.0"),
    ("Relu", (np.asarray([-0.0, 1.0], F32),), {}, "-0.0"),
    ("Clip", (np.asarray([-0.0, 2.0], F32), F32(0), F32(1)), {}, "-0.0"),
    ("Pow", (X, F32(3)), {}, "squares"),
    ("Where", (np.asarray([True]), np.asarray([-0.0], F32), np.asarray([1.0], F32)), {}, "-0.0"),
]


@pytest.mark.parametrize(("op", "inputs", "attributes"), CLAIMED)
def test_what_every_runtime_must_give(op: str, inputs: tuple[Array, ...], attributes: dict[str, Any]):
    assert unclaimed(op, *inputs, **attributes) == ""


@pytest.mark.parametrize(("op", "inputs", "attributes", "word"), NOT_CLAIMED)
def test_what_a_runtime_may_give_otherwise(op: str, inputs: tuple[Array, ...], attributes: dict[str, Any], word: str):
    assert word in unclaimed(op, *inputs, **attributes)


def test_what_is_made_of_constants_is_looked_at_too():
    nodes = [helper.make_node("Exp", ["c"], ["e"]), helper.make_node("Mul", ["x", "e"], ["y"])]
    interpreter = Interpreter(model(nodes, {"x": X}, {"y": 0}, {"c": X[0]}, 21))
    interpreter.run({"x": X}, trace=True)
    assert list(interpreter.unclaimed) == ["e"]


def functions(nodes: list[onnx.NodeProto], constants: dict[str, Array]) -> Interpreter:
    codes = np.zeros((2, 3), np.uint8)
    return Interpreter(model(nodes, {"q": codes}, {nodes[-1].output[0]: 0}, constants, 21))


def test_all_values_of_a_function_of_codes():
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["x"]),
        helper.make_node("Sigmoid", ["x"], ["g"]),
        helper.make_node("Mul", ["x", "g"], ["y"]),
    ]
    interpreter = functions(nodes, {"s": F32(0.05), "z": np.uint8(100)})
    found, x = interpreter.every_value("y"), np.arange(-100, 156) * F32(0.05)
    assert found is not None and found.size == 256  # code by code, not in pairs
    np.testing.assert_allclose(np.sort(found), np.sort(x / (1 + np.exp(-x))), rtol=1e-6)


@pytest.mark.parametrize("bias", [None, np.asarray([[0.0, -0.5, 0.25]], F32)])
def test_a_distance_to_the_maximum_is_never_above_zero(bias: Array | None):
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("Add", ["d", "b"], ["x"]),
        helper.make_node("ReduceMax", ["x", "axis"], ["peak"]),
        helper.make_node("Sub", ["x", "peak"], ["y"]),
    ]
    constants = {"s": F32(0.25), "z": np.uint8(0), "b": F32(0) if bias is None else bias, "axis": AXIS}
    found = functions(nodes, constants).every_value("y")
    assert found is not None and found.max() == 0
    assert found.min() == (-63.75 if bias is None else -64.5)


@pytest.mark.parametrize(("keepdims", "most"), [(1, 0.0), (0, 63.75)])
def test_a_maximum_written_out_is_never_below(keepdims: int, most: float):
    """One that lost its axis is repeated along another one, where it may well be below."""
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["x"]),
        helper.make_node("ReduceMax", ["x", "axis"], ["peak"], keepdims=keepdims),
        helper.make_node("Expand", ["peak", "sizes"], ["peaks"]),
        helper.make_node("Sub", ["x", "peaks"], ["y"]),
    ]
    constants = {"s": F32(0.25), "z": np.uint8(0), "axis": AXIS, "sizes": np.array([3, 3], np.int64)}
    found = functions(nodes, constants).every_value("y")
    assert found is not None and found.max() == most


def test_every_element_wise_op_has_values():
    """One list of them: an op that a look-up takes is one whose values are known."""
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["x"]),
        helper.make_node("Reciprocal", ["x"], ["y"]),
    ]
    found = functions(nodes, {"s": F32(0.25), "z": np.uint8(0)}).every_value("y")
    assert found is not None and found.size == 256 and found[np.isfinite(found)].min() == F32(1 / 63.75)


def test_values_that_depend_on_floats_are_unknown():
    nodes = [helper.make_node("Exp", ["x"], ["y"])]
    assert Interpreter(model(nodes, {"x": X}, {"y": 0}, {}, 21)).every_value("y") is None

"""Each op against onnxruntime's own: element by element, movement, types and reductions."""

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from integer_models import Array, assert_same_bits, model
from onnx import TensorProto, helper

from kernels_ref import Interpreter, InterpreterError
from kernels_ref.ops.table import OPS

RNG = np.random.default_rng(3)
X = RNG.normal(size=(3, 4, 5)).astype(np.float32)
Y = RNG.normal(size=(4, 1)).astype(np.float32)
LONG = RNG.normal(scale=3, size=(40, 517)).astype(np.float32)
I32 = RNG.integers(-50, 50, (3, 4, 5), np.int32)
U8 = RNG.integers(0, 256, (3, 4, 5), np.uint8)
I8 = np.arange(-128, 128, dtype=np.int8).reshape(4, 64)


def i64(*values: int) -> Array:
    return np.asarray(values, np.int64)


def one(
    op: str, *inputs: Array | None, opset: int = 21, outputs: int = 1, **attributes: Any
) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """A model of one node; its first input is fed, the others are constants."""
    names = ["" if x is None else f"x{index}" for index, x in enumerate(inputs)]
    kept = {name: np.asarray(x) for name, x in zip(names, inputs, strict=True) if name}
    feeds = {"x0": kept.pop("x0")} if "x0" in kept else {}
    made = [f"y{index}" for index in range(outputs)]
    proto = model([helper.make_node(op, names, made, op, **attributes)], feeds, dict.fromkeys(made, 0), kept, opset)
    inferred = onnx.shape_inference.infer_shapes(proto, strict_mode=True)
    return inferred, feeds


EXACT = {
    "Add": [(X, Y), (I32, I32), (X.astype(np.float64), Y.astype(np.float64))],
    "Sub": [(X, Y), (I32, I32)],
    "Mul": [(X, Y), (I32, I32)],
    "Div": [(X, Y), (I32, np.where(I32 == 0, np.int32(7), I32[::-1] | 1))],
    "Equal": [(I32, I32[:1]), (X, X)],
    "Greater": [(X, Y), (I32, I32[:1])],
    "Less": [(X, Y), (I32, I32[:1])],
    "BitwiseAnd": [(U8, U8[:1])],
    "BitwiseOr": [(U8, U8[:1])],
    "BitwiseXor": [(U8, U8[:1])],
    "And": [(X > 0, Y > 0)],
    "Or": [(X > 0, Y > 0)],
    "Not": [(X > 0,)],
    "Relu": [(X,), (I32,)],
    "Sqrt": [(np.abs(X),), (np.abs(LONG),), (np.abs(LONG).astype(np.float64),)],
    "Reciprocal": [(X,), (LONG,)],
    "Floor": [(X,)],
    "Round": [(X,), (np.asarray([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 1e30], np.float32),)],
    "Neg": [(X,), (I32,)],
    "Abs": [(X,), (I32,)],
    "Identity": [(X,)],
    "Min": [(X, Y, X[::-1]), (I32, I32[:1])],
    "Max": [(X, Y, X[::-1]), (U8, U8[:1])],
    "Shape": [(X,)],
}


@pytest.mark.parametrize(("op", "inputs"), [(op, inputs) for op, cases in EXACT.items() for inputs in cases])
def test_same_bits(op: str, inputs: tuple[Array, ...]):
    assert_same_bits(*one(op, *inputs))


WITH_ATTRIBUTES: list[tuple[str, tuple[Array | None, ...], dict[str, Any]]] = [
    ("Clip", (X, np.float32(-0.5), np.float32(0.7)), {}),
    ("Clip", (X, None, np.float32(0.7)), {}),
    ("Clip", (U8, np.uint8(9)), {}),
    ("Clip", (X, np.float32(1), np.float32(-1)), {}),
    ("Pow", (X, np.float32(2)), {}),
    ("Mod", (I32, np.int32(7)), {}),
    ("Mod", (I32, np.int32(-7)), {}),
    ("Mod", (I32, np.int32(7)), {"fmod": 1}),
    ("Mod", (X, np.float32(0.3)), {"fmod": 1}),
    ("BitShift", (U8, np.uint8(3)), {"direction": "LEFT"}),
    ("BitShift", (U8, np.arange(5, dtype=np.uint8)), {"direction": "RIGHT"}),
    ("Cast", (X * 50,), {"to": TensorProto.INT32}),
    ("Cast", (X * 1e-3,), {"to": TensorProto.BOOL}),
    ("Cast", (X.astype(np.float64),), {"to": TensorProto.FLOAT}),
    ("Cast", (I32,), {"to": TensorProto.INT8}),
    ("Cast", (I32,), {"to": TensorProto.UINT8}),
    ("Cast", (U8,), {"to": TensorProto.FLOAT}),
    ("Cast", (X,), {"to": TensorProto.FLOAT16}),
    ("Reshape", (X, i64(0, -1)), {}),
    ("Reshape", (X, i64(5, 12)), {}),
    ("Transpose", (X,), {}),
    ("Transpose", (X,), {"perm": [1, 2, 0]}),
    ("Slice", (X, i64(1), i64(3)), {}),
    ("Slice", (X, i64(-3, 0), i64(2**62, -1), i64(-1, 1)), {}),
    ("Slice", (X, i64(4, -1), i64(0, -(2**62)), i64(2, 1), i64(-2, -1)), {}),
    ("Slice", (X, i64(9), i64(20), i64(1)), {}),
    ("Gather", (X, i64(3, 0, -1)), {"axis": 1}),
    ("Gather", (X, np.int64(-2)), {"axis": -1}),
    ("ScatterElements", (X, i64(4, 0, -1).reshape(1, 1, 3), X[:1, :1, :3]), {"axis": 2}),
    ("ScatterElements", (I32, i64(0, 1, 0).reshape(1, 1, 3), I32[:1, :1, :3]), {"axis": 1, "reduction": "add"}),
    ("ScatterElements", (I8, i64(3, 3, 1)[None], I8[:1, 7:10]), {"axis": 1, "reduction": "add"}),
    ("ScatterElements", (I32, i64(0, 1, 0).reshape(1, 1, 3), I32[:1, :1, :3]), {"axis": 1, "reduction": "mul"}),
    ("ScatterElements", (X, i64(4, 0, 0).reshape(1, 1, 3), X[:1, :1, :3]), {"axis": -1, "reduction": "max"}),
    ("ScatterElements", (X, i64(4, 0, 0).reshape(1, 1, 3), X[:1, :1, :3]), {"axis": -1, "reduction": "min"}),
    ("CumSum", (I32, np.int64(1)), {}),
    ("CumSum", (I32, np.int64(-1)), {"exclusive": 1}),
    ("CumSum", (I32, i64(0)), {"reverse": 1}),
    ("CumSum", (I32, np.int32(2)), {"reverse": 1, "exclusive": 1}),
    ("Concat", (X, X[:, :2]), {"axis": 1}),
    ("Concat", (U8, U8), {"axis": -1}),
    ("Expand", (Y, i64(3, 1, 5)), {}),
    ("Expand", (X, i64(1)), {}),
    ("Squeeze", (Y, i64(-1)), {}),
    ("Squeeze", (Y[None],), {}),
    ("Unsqueeze", (X, i64(0, -1)), {}),
    ("Flatten", (X,), {}),
    ("Flatten", (X,), {"axis": 0}),
    ("Flatten", (X,), {"axis": -1}),
    ("Flatten", (X,), {"axis": 3}),
    ("Pad", (X, i64(0, 1, 2, 1, 0, 3)), {}),
    ("Pad", (X, i64(0, 1, -2, 1, 0, 3), np.float32(7)), {}),
    ("Pad", (U8, i64(1, 2), np.uint8(9), i64(-1)), {}),
    ("Pad", (X, i64(0, 1, 2, 1, 0, 3)), {"mode": "edge"}),
    ("Pad", (X, i64(0, 1, 2, 1, 0, 3)), {"mode": "reflect"}),
    ("Pad", (X, i64(0, 1, 2, 1, 0, 3)), {"mode": "wrap"}),
    ("Shape", (X,), {"start": -2}),
    ("Shape", (X,), {"start": 1, "end": 2}),
    ("ConstantOfShape", (i64(2, 3),), {}),
    ("ConstantOfShape", (i64(2, 3),), {"value": helper.make_tensor("v", TensorProto.INT32, [1], [5])}),
    ("Constant", (), {"value_ints": [3, 4]}),
    ("Constant", (), {"value_float": 0.1}),
    ("Constant", (), {"value": helper.make_tensor("v", TensorProto.UINT8, [2], [5, 250])}),
    ("Where", (X > 0, X, Y), {}),
    ("Tile", (X, i64(2, 1, 3)), {}),
    ("Range", (np.int64(3), np.int64(-8), np.int64(-3)), {}),
    ("Range", (np.float32(0.5), np.float32(4), np.float32(0.25)), {}),
    ("Range", (np.int32(3), np.int32(3), np.int32(1)), {}),
    ("ReduceMax", (X, i64(-1)), {}),
    ("ReduceMax", (U8, i64(1, 2)), {"keepdims": 0}),
    ("ReduceMin", (X,), {}),
    ("ReduceMin", (I32, i64(0)), {}),
    ("ReduceSum", (np.rint(LONG), i64(-1)), {}),
    ("ReduceSum", (np.rint(LONG).astype(np.float64) ** 2, i64(-1)), {}),
    ("ReduceSum", (I32, i64(0, 2)), {"keepdims": 0}),
    ("ReduceSum", (X,), {"noop_with_empty_axes": 1}),
    ("ReduceMean", (np.rint(LONG[:, :512]), i64(-1)), {}),
    ("ReduceMean", (I32, i64(1)), {}),
]


@pytest.mark.parametrize(("op", "inputs", "attributes"), WITH_ATTRIBUTES)
def test_same_bits_with_attributes(op: str, inputs: tuple[Array | None, ...], attributes: dict[str, Any]):
    assert_same_bits(*one(op, *inputs, **attributes))


FOUR_BITS = [
    ([-8, -1, 0, 7], TensorProto.INT4, TensorProto.INT8, [-8, -1, 0, 7]),
    ([-8, -1, 0, 7], TensorProto.INT4, TensorProto.FLOAT, [-8, -1, 0, 7]),
    ([-8, -1, 0, 7], TensorProto.INT4, TensorProto.UINT4, [8, 15, 0, 7]),
    ([0, 8, 15], TensorProto.UINT4, TensorProto.INT4, [0, -8, -1]),
    ([0, 8, 15], TensorProto.UINT4, TensorProto.FLOAT, [0, 8, 15]),
    ([-7.6, 3.7, 0.25], TensorProto.FLOAT, TensorProto.INT4, [-8, 4, 0]),  # rounded, as onnxruntime rounds
    ([14.9, 3.7, 0.25], TensorProto.FLOAT, TensorProto.UINT4, [15, 4, 0]),
]


@pytest.mark.parametrize(("values", "source", "to", "expected"), FOUR_BITS)
def test_cast_of_four_bits(values: list[float], source: int, to: int, expected: list[int]):
    x = np.asarray(values).astype(helper.tensor_dtype_to_np_dtype(source))
    (y,) = OPS["Cast"]([x], {"to": to})
    assert y.dtype == helper.tensor_dtype_to_np_dtype(to)
    assert y.astype(np.float32).tolist() == expected


@pytest.mark.parametrize("op", ["ReduceMax", "ReduceMin", "ReduceMean"])
def test_axes_as_an_attribute_of_older_opsets(op: str):
    assert_same_bits(*one(op, np.rint(LONG[:, :512]), opset=13, axes=[-1], keepdims=0))


@pytest.mark.parametrize(
    ("inputs", "outputs", "attributes", "opset"),
    [
        ((X, i64(1, 0, 4)), 3, {"axis": -1}, 21),
        ((X,), 3, {"axis": 2, "num_outputs": 3}, 21),
        ((X,), 2, {"axis": 1}, 13),
    ],
)
def test_split(inputs: tuple[Array, ...], outputs: int, attributes: dict[str, int], opset: int):
    assert_same_bits(*one("Split", *inputs, outputs=outputs, opset=opset, **attributes))


CLOSE: list[tuple[str, tuple[Array, ...], dict[str, Any]]] = [
    ("Exp", (LONG,), {}),
    ("Log", (np.abs(LONG),), {}),
    ("Erf", (LONG,), {}),
    ("Erf", (np.rint(LONG * 8) / np.float32(8),), {}),
    ("Tanh", (LONG,), {}),
    ("Sigmoid", (LONG,), {}),
    ("Gelu", (LONG,), {}),
    ("Gelu", (np.rint(LONG * 8) * np.float32(0.0862616226),), {}),
    ("Gelu", (LONG,), {"approximate": "tanh"}),
    ("Pow", (np.abs(LONG), np.float32(0.7)), {}),
    ("Softmax", (LONG,), {}),
    ("Softmax", (LONG,), {"axis": 0}),
    ("LayerNormalization", (LONG, LONG[0], LONG[1]), {"epsilon": 1e-6}),
    ("LayerNormalization", (X, X[0]), {"axis": 1}),
    ("ReduceSum", (LONG, i64(-1)), {}),
    ("ReduceMean", (LONG, i64(0)), {}),
    ("Conv", (X[None], RNG.normal(size=(6, 3, 2, 3)).astype(np.float32), Y.repeat(6)[:6]), {"strides": [1, 2]}),
    (
        "Conv",
        (LONG[:4, :90].reshape(1, 4, 9, 10), LONG[:, :18].reshape(40, 2, 3, 3)),
        {"group": 2, "pads": [1, 0, 2, 1]},
    ),
    ("Conv", (LONG[:2, :90].reshape(1, 2, 9, 10), LONG[:4, :18].reshape(4, 2, 3, 3)), {"dilations": [2, 3]}),
    ("Conv", (LONG[:2, :90].reshape(1, 2, 9, 10), LONG[:4, :12].reshape(4, 2, 2, 3)), {"auto_pad": "SAME_UPPER"}),
    ("Conv", (LONG[:6].reshape(2, 3, -1), LONG[:4, :12].reshape(4, 3, 4)), {"auto_pad": "SAME_LOWER", "strides": [3]}),
    ("MatMul", (X, LONG[:5, :7]), {}),
    ("Gemm", (X[0], X[1], LONG[0, :4]), {"transB": 1, "alpha": 0.5, "beta": 2.0}),
    ("Gemm", (X[0], X[1]), {"transA": 1}),
]


@pytest.mark.parametrize(("op", "inputs", "attributes"), CLOSE)
def test_close_where_no_equal_bits_are_promised(op: str, inputs: tuple[Array, ...], attributes: dict[str, Any]):
    proto, feeds = one(op, *inputs, **attributes)
    expected = ort.InferenceSession(proto.SerializeToString()).run(None, feeds)[0]
    got = Interpreter(proto).run(feeds)["y0"]
    assert got.dtype == expected.dtype
    np.testing.assert_allclose(got, expected, rtol=3e-6, atol=2e-5)


@pytest.mark.parametrize("op", ["Gelu", "Erf", "Tanh", "Sigmoid", "Exp"])
def test_few_values_give_what_each_value_alone_gives(op: str):
    codes = RNG.integers(0, 256, (70, 90), np.uint8)
    x = (codes.astype(np.float32) - np.float32(129)) * np.float32(0.0862616226)
    table = (np.arange(256, dtype=np.float32) - np.float32(129)) * np.float32(0.0862616226)
    (whole,), (alone,) = OPS[op]([x], {}), OPS[op]([table], {})
    assert (whole == alone[codes]).all()


SPREAD = RNG.integers(-128, 128, (70, 90)).astype(np.float32) * np.float32(0.03)
MISLEADING = {
    "one value": np.full((70, 90), 0.3, np.float32),
    "not contiguous": SPREAD.T[::-1],
    "both zeros": np.where(SPREAD < 0, np.float32(-0.0), SPREAD),
    "a value off the grid": np.where(np.arange(6300).reshape(70, 90) == 6298, np.float32(0.0301), SPREAD),
    "no grid": np.resize(LONG, (70, 90)),
    "not finite": np.where(SPREAD > 3, np.float32(np.inf), np.where(SPREAD < -3, np.float32(np.nan), SPREAD)),
    "far apart": np.where(SPREAD > 3, np.float32(3e38), np.float32(-3e38)),
}


@pytest.mark.parametrize("op", ["Gelu", "Tanh"])
@pytest.mark.parametrize("x", MISLEADING.values(), ids=MISLEADING.keys())
def test_the_table_of_few_values_is_not_misled(op: str, x: Array):
    with np.errstate(all="ignore"):
        (whole,) = OPS[op]([x], {})
        alone = np.concatenate([OPS[op]([part], {})[0] for part in x.ravel().reshape(-1, 90)]).reshape(x.shape)
    assert whole.tobytes() == alone.tobytes()


def test_every_op_has_its_own_function():
    assert len(set(OPS.values())) == len(OPS)


REFUSED: list[tuple[str, tuple[Array | None, ...], dict[str, Any], str]] = [
    ("Add", (X, X.astype(np.float64)), {}, "different types"),
    ("Add", (X, X[:, :, :2]), {}, "cannot be computed"),
    ("Div", (I32, np.int32(0)), {}, "divided by 0"),
    ("Reshape", (X, i64(7, -1)), {}, "cannot be computed"),
    ("Gather", (X, i64(9)), {}, "cannot be computed"),
    ("Transpose", (X,), {"perm": [0, 1]}, "no order"),
    ("Split", (X, i64(1, 1)), {"axis": 1}, "cannot be split"),
    ("Cast", (X,), {"to": 99}, "no type 99"),
    ("BitShift", (X, X), {"direction": "LEFT"}, "not supported"),
    ("ReduceSum", (X, i64(3)), {}, "axis 3 does not exist"),
    ("Pad", (X, i64(1, 1)), {}, "two for each"),
    ("Squeeze", (X, i64(0)), {}, "cannot be computed"),
    ("Gelu", (X,), {"approximate": "fast"}, "known are none and tanh"),
]


@pytest.mark.parametrize(("op", "inputs", "attributes", "match"), REFUSED)
def test_refused_with_the_node_named(op: str, inputs: tuple[Array, ...], attributes: dict[str, Any], match: str):
    names = [f"x{index}" for index in range(len(inputs))]
    feeds = dict(zip(names, inputs, strict=True))
    proto = model([helper.make_node(op, names, ["y0"], "here", **attributes)], feeds, {"y0": TensorProto.FLOAT}, {})
    with pytest.raises(InterpreterError, match=f"{op} node here.*{match}"):
        Interpreter(proto).run(feeds)


ZEROS = np.asarray([-0.0, 0.0, -1, 1, -0.0, 0.0], np.float32)


@pytest.mark.parametrize(
    ("op", "inputs"),
    [
        ("Relu", (ZEROS,)),
        ("Clip", (ZEROS, np.float32(0))),
        ("Clip", (ZEROS, np.float32(-0.0), np.float32(0.5))),
        ("Clip", (ZEROS, None, np.float32(0))),
        ("Where", (ZEROS >= 0, ZEROS, ZEROS)),
        ("Where", (ZEROS > 0, ZEROS, ZEROS)),
    ],
)
def test_the_signs_of_zeros_are_those_that_onnxruntime_gives_here(op: str, inputs: tuple[Array | None, ...]):
    """Which may be others on another CPU: so there is no claim of equal bits."""
    proto, feeds = one(op, *inputs)
    assert_same_bits(proto, feeds)

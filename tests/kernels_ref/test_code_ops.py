"""Ops between DequantizeLinear and QuantizeLinear, and ops on codes: onnxruntime's kernels, bit for bit."""

from typing import Any

import numpy as np
import pytest
from integer_models import Array, assert_same_bits, model, node
from onnx import TensorProto, helper

from kernels_ref import Interpreter, InterpreterError
from kernels_ref.qlinear.binary import qlinear_add
from kernels_ref.qlinear.fused_multiply_add import fused_multiply_add

RNG = np.random.default_rng(11)
KINDS = {np.uint8: TensorProto.UINT8, np.int8: TensorProto.INT8}
EVERY = np.arange(256, dtype=np.uint8)
IMAGE = RNG.integers(0, 256, (2, 5, 6, 7), np.uint8)
UNARY: dict[str, tuple[Array, dict[str, Any], float]] = {
    "AveragePool": (IMAGE, {"kernel_shape": [2, 3], "pads": [1, 1, 0, 1], "strides": [1, 2]}, 0.031),
    "GlobalAveragePool": (IMAGE, {}, 0.017),
    "LeakyRelu": (EVERY, {"alpha": 0.13}, 0.021),
    "Sigmoid": (EVERY, {}, 1 / 256),
    "Softmax": (RNG.integers(0, 256, (3, 4, 9), np.uint8), {"axis": 1}, 1 / 255),
}


def real(codes: Array) -> Array:
    """Floats that a scale of 0.0173 and a zero point of 128 make these codes of."""
    return ((codes.astype(np.int64) - 128) * np.float32(0.0173)).astype(np.float32)


def constants(kind: type, **values: float) -> dict[str, Array]:
    """Scales, and zero points that are 128 lower for int8."""
    low = -128 if kind is np.int8 else 0
    return {n: np.float32(v) if n.startswith("s") else np.asarray(v + low).astype(kind) for n, v in values.items()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("op", UNARY)
def test_one_tensor(op: str, kind: type):
    codes, attributes, scale = UNARY[op]
    nodes = [
        node("QuantizeLinear", "x s z", "a"),
        node("DequantizeLinear", "a s z", "af"),
        node(op, "af", "t", **attributes),
        node("QuantizeLinear", "t sy zy", "y"),
        node("DequantizeLinear", "y sy zy", "yf"),
    ]
    zero = 0 if op in ("Sigmoid", "Softmax") else 121
    proto = model(
        nodes, {"x": real(codes)}, {"yf": TensorProto.FLOAT}, constants(kind, s=0.0173, z=128, sy=scale, zy=zero)
    )
    interpreter = Interpreter(proto)
    assert [kernel.op for kernel in interpreter.kernels if kernel.outputs == ("y",)] == [f"QLinear{op}"]
    assert_same_bits(proto, {"x": real(codes)})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("sa", "sb", "sy"), [(0.0173, 0.031, 0.029), (0.0173, 0.0173, 0.0346), (0.25, 0.75, 0.5)])
@pytest.mark.parametrize("op", ["Add", "Mul"])
def test_all_pairs_of_codes(op: str, sa: float, sb: float, sy: float, kind: type):
    """As two inputs of codes: uint8 as they are, int8 as QLinearAdd and QLinearMul, which files may hold too."""
    a, b = (np.ascontiguousarray(x).view(kind) for x in (np.repeat(EVERY, 256), np.tile(EVERY, 256)))
    given = constants(kind, sa=sa, za=104, sb=sb, zb=151, sy=sy, zy=117)
    names = "a sa za b sb zb sy zy"
    proto = model(
        [node(f"QLinear{op}", names, "y", domain="com.microsoft")], {"a": a, "b": b}, {"y": KINDS[kind]}, given
    )
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    assert_same_bits(proto, {"a": a, "b": b})


@pytest.mark.parametrize(
    "shapes", [((1,), (256,)), ((256,), (1,)), ((4, 1, 1), (4, 8, 8)), ((2, 3, 4), (4,)), ((1,), (1,))]
)
def test_a_repeated_summand_is_added_first(shapes: tuple[tuple[int, ...], tuple[int, ...]]):
    """Scales of which the order of a sum decides: halves of steps."""
    a, b = (RNG.integers(0, 256, shape, np.uint8) for shape in shapes)
    given = constants(np.uint8, sa=0.25 / 3, za=77, sb=0.125, zb=12, sy=0.25, zy=131)
    nodes = [
        node("DequantizeLinear", "a sa za", "af"),
        node("DequantizeLinear", "b sb zb", "bf"),
        node("Add", "af bf", "t"),
        node("QuantizeLinear", "t sy zy", "y"),
    ]
    proto = model(nodes, {"a": a, "b": b}, {"y": TensorProto.UINT8}, given)
    assert_same_bits(proto, {"a": a, "b": b})


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
def test_sums_of_large_tensors_are_those_of_their_parts(kind: type):
    """Large ones are looked up in the sums of all pairs; scales of which the order of a sum decides."""
    a, b = (RNG.integers(0, 256, shape, np.uint8).view(kind) for shape in ((2, 300, 120), (300, 1)))
    scales = [np.asarray(scale, np.float32) for scale in (0.25 / 3, 0.125, 0.25)]
    zeros = [np.asarray(zero, np.uint8).view(kind) for zero in (77, 12, 131)]

    def added(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return qlinear_add([a, scales[0], zeros[0], b, scales[1], zeros[1], scales[2], zeros[2]], {})[0]

    parts = [added(a[:, i : i + 1], b[i : i + 1]) for i in range(300)]
    assert a.size > 1 << 16 > parts[0].size
    whole = added(a, b)
    assert whole.dtype == kind
    assert np.array_equal(whole, np.concatenate(parts, 1))


def test_tensors_of_several_scales_are_joined_on_one():
    a, b = (RNG.integers(0, 256, (3, 5), np.uint8) for _ in "ab")
    nodes = [
        node("DequantizeLinear", "a sa za", "af"),
        node("DequantizeLinear", "b sb zb", "bf"),
        node("Concat", "af bf", "t", axis=1),
        node("QuantizeLinear", "t sa za", "y"),
    ]
    proto = model(
        nodes, {"a": a, "b": b}, {"y": TensorProto.UINT8}, constants(np.uint8, sa=0.02, za=100, sb=0.03, zb=90)
    )
    assert Interpreter(proto).kernels[-1].op == "QLinearConcat"
    assert_same_bits(proto, {"a": a, "b": b})


def test_a_softmax_whose_exponentials_overflow_is_refused():
    x = np.zeros((3, 1), np.uint8)
    nodes = [
        node("DequantizeLinear", "x s z", "f"),
        node("Softmax", "f", "t"),
        node("QuantizeLinear", "t sy zy", "y"),
    ]
    proto = model(nodes, {"x": x}, {"y": TensorProto.UINT8}, constants(np.uint8, s=0.1, z=0, sy=1 / 256, zy=0))
    with pytest.raises(InterpreterError, match="leave float32"):
        Interpreter(proto).run({"x": x})


def test_a_sum_of_codes_is_claimed_only_where_no_pair_is_close_to_a_boundary():
    def doubts(sa: float, sb: float) -> int:
        given = constants(np.uint8, sa=sa, za=0, sb=sb, zb=0, sy=1, zy=0)
        nodes = [
            node("DequantizeLinear", "x sa za", "af"),
            node("DequantizeLinear", "x sb zb", "bf"),
            node("Add", "af bf", "t"),
            node("QuantizeLinear", "t sy zy", "y"),
        ]
        interpreter = Interpreter(model(nodes, {"x": EVERY}, {"y": TensorProto.UINT8}, given))
        interpreter.run({"x": EVERY}, trace=["y"])
        return len(interpreter.unclaimed)

    assert doubts(1, 2) == 0
    assert doubts(0.5, 0.37) == 1


def test_a_product_and_a_sum_are_rounded_once():
    a, b, c = (RNG.standard_normal(4000).astype(np.float32) for _ in "abc")
    c[::2] = -(a * b)[::2]  # the sum is what the product's rounding lost
    exact = [
        float(np.float32(float(x) * float(y) + float(z))) for x, y, z in zip(a[1::2], b[1::2], c[1::2], strict=True)
    ]
    got = fused_multiply_add(a, b, c)
    assert (got[1::2] == np.asarray(exact, np.float32)).mean() > 0.999  # float64 rounds twice, rarely otherwise
    lost = a[::2].astype(np.float64) * b[::2].astype(np.float64) + c[::2].astype(np.float64)
    assert (got[::2] == lost).all() and np.count_nonzero(lost)

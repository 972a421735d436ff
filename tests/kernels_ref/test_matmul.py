"""Fused integer products against onnxruntime, bit for bit, with codes that no kernel saturates on."""

import ml_dtypes
import numpy as np
import pytest
from integer_models import Array, assert_same_bits, model, node
from onnx import TensorProto, helper, numpy_helper

from kernels_ref import Interpreter, InterpreterError
from kernels_ref.matmul import exact_product

RNG = np.random.default_rng(0)
SCALE_A, ZERO_A = np.float32(0.0371), np.uint8(117)
FLOAT, U8, I8 = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT8


def weights(kind: str, shape: tuple[int, ...]) -> tuple[Array, Array]:
    if kind == "u8":
        return RNG.integers(0, 256, shape, np.uint8), np.uint8(128)
    return RNG.integers(-64, 64, shape, np.int8), np.int8(0)


def gemm_model(
    a: Array, w: Array, zero_w: Array, *, per_channel: bool, bias: bool, trans_b: bool = False, codes: type | None
):
    """`DQ, DQ[, DQ] -> Gemm [-> Q]` for weights (K, N)."""
    n = w.shape[1]
    scale_w = (RNG.uniform(0.5, 1.5, n) * 0.004).astype(np.float32) if per_channel else np.float32(0.0042)
    constants = {
        "sa": SCALE_A,
        "za": ZERO_A,
        "w": w.T.copy() if trans_b else w,
        "sw": scale_w,
        "zw": np.full(n, zero_w) if per_channel else zero_w,
    }
    axis = {"axis": 0 if trans_b else 1} if per_channel else {}
    nodes = [node("DequantizeLinear", "a sa za", "af"), node("DequantizeLinear", "w sw zw", "wf", **axis)]
    if bias:
        constants |= {
            "b": RNG.integers(-40000, 40000, n, np.int32),
            "sb": np.asarray(SCALE_A * scale_w, np.float32),
            "zb": np.zeros(n if per_channel else (), np.int32),
        }
        nodes.append(node("DequantizeLinear", "b sb zb", "bf", **({"axis": 0} if per_channel else {})))
    nodes.append(node("Gemm", "af wf bf" if bias else "af wf", "y", transB=int(trans_b)))
    output = {"y": FLOAT}
    if codes is not None:
        constants |= {"sy": np.float32(0.113), "zy": codes(9)}
        nodes.append(node("QuantizeLinear", "y sy zy", "q"))
        output = {"q": U8 if codes is np.uint8 else I8}
    return model(nodes, {"a": a}, output, constants)


@pytest.mark.parametrize("kind", ["s8", "u8"])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("codes", [None, np.uint8])
@pytest.mark.parametrize("trans_b", [False, True])
def test_gemm(kind: str, per_channel: bool, bias: bool, codes: type | None, trans_b: bool):
    w, zero = weights(kind, (37, 11))
    a = RNG.integers(0, 256, (5, 37), np.uint8)
    proto = gemm_model(a, w, zero, per_channel=per_channel, bias=bias, trans_b=trans_b, codes=codes)
    trace = assert_same_bits(proto, {"a": a})
    assert trace["y"].dtype == np.float32 and trace["wf"].dtype == np.float32


@pytest.mark.parametrize("codes", [None, np.uint8])
@pytest.mark.parametrize("alike", [True, False])
def test_a_bias_with_a_row_for_each_row(codes: type | None, alike: bool):
    """Its codes repeated by an Expand: a QGemm as before. Rows that differ are no kernel that is known here."""
    w, zero = weights("s8", (37, 11))
    a = RNG.integers(0, 256, (5, 37), np.uint8)
    proto = gemm_model(a, w, zero, per_channel=True, bias=True, codes=codes)
    stored = {each.name: each for each in proto.graph.initializer}
    if alike:
        proto.graph.initializer.append(numpy_helper.from_array(np.array([5, 11]), "sizes"))
        proto.graph.node.insert(2, node("Expand", "b sizes", "rows"))
        proto.graph.node[3].input[0] = "rows"
    else:
        rows = RNG.integers(-40000, 40000, (5, 11), np.int32)
        stored["b"].CopyFrom(numpy_helper.from_array(rows, "b"))
    bias = next(each for each in proto.graph.node if each.output[0] == "bf")
    bias.attribute[0].i = 1
    kernels = [kernel.op for kernel in Interpreter(proto).kernels if kernel.outputs[0] in ("y", "q")]
    assert (kernels == ["QGemm"]) is alike
    if alike:
        assert_same_bits(proto, {"a": a})


@pytest.mark.parametrize("a_code", [0, 255])
@pytest.mark.parametrize("w_code", [-64, 63])
def test_gemm_with_all_codes_at_an_end(a_code: int, w_code: int):
    a, w = np.full((3, 1537), a_code, np.uint8), np.full((1537, 8), w_code, np.int8)
    for codes in (None, np.uint8):
        assert_same_bits(gemm_model(a, w, np.int8(0), per_channel=True, bias=True, codes=codes), {"a": a})


@pytest.mark.parametrize("shape", [(6, 65), (2, 6, 65), (2, 3, 6, 65)])
@pytest.mark.parametrize("codes", [False, True])
def test_matmul_of_two_activations(shape: tuple[int, ...], codes: bool):
    a, b = RNG.integers(0, 128, shape, np.uint8), RNG.integers(0, 256, (*shape[:-2], 65, 9), np.uint8)
    constants = {"sa": SCALE_A, "za": np.uint8(3), "sb": np.float32(0.017), "zb": np.uint8(128)}
    constants |= {"sy": np.float32(0.31), "zy": np.uint8(128)}
    nodes = [
        node("DequantizeLinear", "a sa za", "af"),
        node("DequantizeLinear", "b sb zb", "bf"),
        node("MatMul", "af bf", "y"),
    ]
    if codes:
        nodes.append(node("QuantizeLinear", "y sy zy", "q"))
    assert_same_bits(model(nodes, {"a": a, "b": b}, {"q": U8} if codes else {"y": FLOAT}, constants), {"a": a, "b": b})


@pytest.mark.parametrize("codes", [False, True])
def test_matmul_with_constant_weights(codes: bool):
    a, (w, zero) = RNG.integers(0, 256, (2, 4, 33), np.uint8), weights("s8", (33, 7))
    constants = {"sa": SCALE_A, "za": ZERO_A, "w": w, "zw": np.full(7, zero), "sy": np.float32(0.2), "zy": np.uint8(5)}
    constants["sw"] = RNG.uniform(0.001, 0.01, 7).astype(np.float32)
    nodes = [
        node("DequantizeLinear", "a sa za", "af"),
        node("DequantizeLinear", "w sw zw", "wf", axis=1),
        node("MatMul", "af wf", "y"),
    ]
    if codes:
        nodes.append(node("QuantizeLinear", "y sy zy", "q"))
    assert_same_bits(model(nodes, {"a": a}, {"q": U8} if codes else {"y": FLOAT}, constants), {"a": a})


def test_a_dequantize_shared_by_two_products():
    a, (w, zero) = RNG.integers(0, 256, (4, 33), np.uint8), weights("s8", (33, 7))
    constants = {"sa": SCALE_A, "za": ZERO_A, "w": w, "zw": zero, "sw": np.float32(0.01)}
    nodes = [
        node("DequantizeLinear", "a sa za", "af"),
        node("DequantizeLinear", "w sw zw", "wf"),
        node("Gemm", "af wf", "y"),
        node("MatMul", "af wf", "z"),
    ]
    trace = assert_same_bits(model(nodes, {"a": a}, {"y": FLOAT, "z": FLOAT}, constants), {"a": a})
    assert (trace["y"] == trace["z"]).all()


def test_four_bit_weights_behind_a_cast():
    a, w = RNG.integers(0, 256, (4, 32), np.uint8), RNG.integers(-8, 8, (32, 6), np.int8)
    constants = {"sa": SCALE_A, "za": ZERO_A, "w4": w.astype(ml_dtypes.int4), "zw": np.zeros(6, np.int8)}
    constants["sw"] = RNG.uniform(0.01, 0.1, 6).astype(np.float32)
    nodes = [
        node("DequantizeLinear", "a sa za", "af"),
        node("Cast", "w4", "w", to=I8),
        node("DequantizeLinear", "w sw zw", "wf", axis=1),
        node("Gemm", "af wf", "y"),
    ]
    trace = assert_same_bits(model(nodes, {"a": a}, {"y": FLOAT}, constants), {"a": a})
    assert (trace["w"] == w).all()


def test_an_integer_product():
    a, b = RNG.integers(0, 128, (2, 5, 31), np.uint8), RNG.integers(-64, 64, (31, 4), np.int8)
    constants = {"b": b, "za": np.uint8(7), "zb": np.int8(0)}
    proto = model([node("MatMulInteger", "a b za zb", "y")], {"a": a}, {"y": TensorProto.INT32}, constants)
    assert_same_bits(proto, {"a": a})


def test_sums_beyond_float32_are_exact():
    a, w = np.full((2, 5001), 255, np.float32), RNG.integers(100, 128, (5001, 3)).astype(np.float32)
    assert (exact_product(a, w) == a.astype(np.int64) @ w.astype(np.int64)).all()


def test_a_sum_beyond_int32_is_an_error():
    a, w = np.full((1, 70000), 255, np.uint8), np.full((70000, 1), -128, np.int8)
    proto = gemm_model(a, w, np.int8(127), per_channel=False, bias=False, codes=None)
    with pytest.raises(InterpreterError, match=r"Gemm node y.*int32"):
        Interpreter(proto).run({"a": a})


@pytest.mark.parametrize("codes", [np.uint8, np.int8, np.int16])
@pytest.mark.parametrize("op", ["Gemm", "MatMul"])
@pytest.mark.parametrize("a_type", [np.uint8, np.int8])
def test_codes_of_another_type_than_the_activation(op: str, a_type: type, codes: type):
    """An output of another type than the activation's keeps the product in float: here its sums are exact too."""
    a, w = RNG.integers(0, 100, (4, 33)).astype(a_type), RNG.integers(-64, 64, (33, 7), np.int8)
    constants = {"sa": np.float32(0.5), "za": a_type(5), "w": w, "sw": np.float32(0.25), "zw": np.int8(0)}
    constants |= {"sy": np.float32(3), "zy": codes(5)}
    nodes = [
        node("DequantizeLinear", "a sa za", "af"),
        node("DequantizeLinear", "w sw zw", "wf"),
        node(op, "af wf", "y"),
        node("QuantizeLinear", "y sy zy", "q"),
    ]
    proto = model(nodes, {"a": a}, {"q": helper.np_dtype_to_tensor_dtype(np.dtype(codes))}, constants)
    trace = assert_same_bits(proto, {"a": a})
    exact = ((a.astype(np.int64) - 5) @ w.astype(np.int64)).astype(np.float32)
    assert (trace["y"] == exact * np.float32(0.125)).all()


@pytest.mark.parametrize("constant", [True, False])
def test_codes_of_another_type_than_their_zero_point_are_refused(constant: bool):
    """The type bounds the codes, and with them the sums."""
    a, w = np.full((2, 8), 2**20, np.int32), np.ones((8, 3), np.int8)
    constants = {"sa": SCALE_A, "za": np.uint8(5), "sw": np.float32(0.25), "zw": np.int8(0)}
    nodes = [
        node("DequantizeLinear", "a sa za", "af"),
        node("DequantizeLinear", "w sw zw", "wf"),
        node("MatMul", "af wf", "y"),
    ]
    feeds = {"a": a} if constant else {"a": a, "w": w}
    proto = model(nodes, feeds, {"y": FLOAT}, constants | ({"w": w} if constant else {}))
    with pytest.raises(InterpreterError, match=r"MatMul node y: the codes are int32 and their zero point uint8"):
        Interpreter(proto).run(feeds)

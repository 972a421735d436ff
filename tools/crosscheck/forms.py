"""The matmul forms that the exporter emits, as small QDQ models, and their results in plain integer arithmetic.

A form is a pair of operand types and ranges. Its model holds one matmul, written as the exporter writes it, so that
onnxruntime fuses it into one integer kernel. Rows of A and columns of B each follow one adversarial pattern along K.
Needs NumPy and onnx.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Codes = NDArray[Any]
Rng = np.random.Generator

_SCALE_A = np.float32(0.0173)
_SCALE_B = np.float32(0.0041)
_OPSET = 21


class Size(NamedTuple):
    """Rows of A, length of the sums, columns of B."""

    m: int
    k: int
    n: int


@dataclass(frozen=True)
class Form:
    """One kind of integer matmul.

    Attributes:
        name: what the table calls it.
        op: ``Gemm`` (constant B with a scale per column, int32 bias), ``Conv`` (the same as a depthwise convolution: a
            channel for each column of B, a window for each row of A), ``Dense`` (the same as a convolution of all
            channels by windows of `positions_of`), ``MatMul`` (two activations, two batch axes) or
            ``Columns`` (a MatMul with constant B and a scale per column).
        a: lowest code, highest code and zero point of A, which is uint8.
        b: the same of B.
        b_type: NumPy type of B.
        pair_safe: B obeys |b[2i]| + |b[2i+1]| <= 128 along K; of ``Dense`` in both orders, channels or positions first.
        safe: the exporter's claim; False for a control, which some CPU's int16 sums must get wrong.
    """

    name: str
    op: str
    a: tuple[int, int, int]
    b: tuple[int, int, int]
    b_type: type[np.integer[Any]]
    pair_safe: bool = False
    safe: bool = True


# Weights of 8 bits stop at -127: arm64 kernels without the dot-product instructions take the uint8 code 0 as -128 and
# add two products in int16, and (-128)(-128) twice is 2**15, one too many.
FORMS = (
    Form("Gemm u8 x s8 in [-64, 63]", "Gemm", (0, 255, 107), (-64, 63, 0), np.int8),
    Form("Gemm u8 x s8 pair-safe", "Gemm", (0, 255, 107), (-127, 127, 0), np.int8, pair_safe=True),
    Form("Gemm u8 x u8, zero point 128", "Gemm", (0, 255, 107), (0, 255, 128), np.uint8),
    Form("Gemm u7 x s8", "Gemm", (0, 127, 64), (-127, 127, 0), np.int8),
    Form("MatMul u8 (128) x u8 (128), as Q x K", "MatMul", (0, 255, 128), (0, 255, 128), np.uint8),
    Form("MatMul u8 (0) x u8 (128), as P x V", "MatMul", (0, 255, 0), (0, 255, 128), np.uint8),
    Form("MatMul u7 x s8 in [0, 127], as narrow Q x K", "MatMul", (0, 127, 64), (0, 127, 64), np.int8),
    Form("MatMul u8 (0) x s8 in [0, 64], as narrow P x V", "MatMul", (0, 255, 0), (0, 64, 32), np.int8),
    Form("MatMul u8 x s8 in [-64, 63], a scale per column", "Columns", (0, 255, 107), (-64, 63, 0), np.int8),
    Form("depthwise Conv u8 x s8 in [-64, 63]", "Conv", (0, 255, 107), (-64, 63, 0), np.int8),
    Form("depthwise Conv u8 x s8 pair-safe", "Conv", (0, 255, 107), (-127, 127, 0), np.int8, pair_safe=True),
    Form("Conv u8 x s8 in [-64, 63]", "Dense", (0, 255, 107), (-64, 63, 0), np.int8),
    Form("Conv u8 x s8 pair-safe", "Dense", (0, 255, 107), (-127, 127, 0), np.int8, pair_safe=True),
    Form("control: Gemm u8 x s8, full range", "Gemm", (0, 255, 107), (-128, 127, 0), np.int8, safe=False),
    Form("control: Gemm u8 x pair-safe and -128", "Gemm", (0, 255, 107), (-128, 127, 0), np.int8, True, safe=False),
)
OUTPUTS = ("float32", "uint8")


def outputs_of(form: Form) -> tuple[str, ...]:
    """The outputs that a form has as an integer kernel: a convolution only gives codes."""
    return ("uint8",) if form.op in ("Conv", "Dense") else OUTPUTS


def kernel_of(k: int) -> tuple[int, int]:
    """Height and width of a window of k values: square where that is possible."""
    side = math.isqrt(k)
    return (side, side) if side * side == k else (1, k)


def positions_of(k: int) -> int:
    """Positions in a window of ``Dense`` of k values: 2 x 2 where each has an even number of channels."""
    return 1 if k % 8 else 4


def _extremes(k: int, lo: int, hi: int) -> list[Codes]:
    """Vectors of the two extreme codes: constant, alternating, in pairs, one at an end, half and half."""
    i = np.arange(k)
    highs = [i >= 0, i < 0, i % 2 == 0, i % 2 == 1, i % 4 < 2, i % 4 >= 2, i == 0, i == k - 1, 2 * i < k]
    return [np.where(high, hi, lo) for high in highs]


def patterns(k: int, lo: int, hi: int, rng: Rng) -> Codes:
    """Adversarial vectors of codes in [lo, hi]: (patterns, k) int64."""
    random = [rng.integers(lo, hi + 1, k) for _ in range(2)]
    return np.stack([*_extremes(k, lo, hi), *random, np.where(rng.random(k) < 0.5, lo, hi)])


def pair_safe_patterns(k: int, lo: int, rng: Rng) -> Codes:
    """Weights in [lo, 127] with |w[2i]| + |w[2i+1]| <= 128, most of them at that bound: (patterns, k) int64."""
    corners = [(127, 1), (1, 127), (lo, 128 + lo), (128 + lo, lo), (64, 64), (-64, -64), (lo, -128 - lo), (64, -64)]
    pairs = -(-k // 2)
    constant = [np.tile(corner, pairs) for corner in corners]
    first = rng.integers(lo, 128, pairs)
    second = np.clip((128 - np.abs(first)) * rng.choice([-1, 1], pairs), lo, 127)
    random = [np.stack(order, 1).ravel() for order in ((first, second), (second, first))]
    mixed = [np.array(corners)[rng.integers(0, len(corners), pairs)].ravel() for _ in range(2)]
    return np.stack([*constant, *random, *mixed])[:, :k]


def operands(form: Form, size: Size, roll: int, rng: Rng) -> tuple[Codes, Codes]:
    """Codes of A and B: (m, k), (k, n) for Gemm and Conv; (2, 2, m, k), (2, 2, k, n) for MatMul.

    Args:
        form: the form.
        size: of the matmul.
        roll: the pattern of the first row and column; the next ones follow in turn.
        rng: source of the random patterns.
    """
    m, k, n = size
    rows = patterns(k, form.a[0], form.a[1], rng)
    columns = pair_safe_patterns(k, form.b[0], rng) if form.pair_safe else patterns(k, form.b[0], form.b[1], rng)
    if form.op == "Dense" and form.pair_safe:
        columns = _safe_across_positions(columns)
    batches = 4 if form.op == "MatMul" else 1
    # The rows step through the patterns more slowly in each further batch, so that other pairs meet.
    a = np.stack([rows[(roll * m + np.arange(m) + i) % len(rows)] for i in range(batches)])
    b = np.stack([columns[(roll * n + np.arange(n) + 2 * i) % len(columns)].T for i in range(batches)])
    shape = (2, 2) if form.op == "MatMul" else ()
    return a.reshape(*shape, m, k).astype(np.uint8), b.reshape(*shape, k, n).astype(form.b_type)


def _safe_across_positions(columns: Codes) -> Codes:
    """Weights [patterns, positions * channels], smaller where two positions of a channel are too large together."""
    positions = positions_of(columns.shape[1])
    if positions == 1:
        return columns
    safe = columns.reshape(len(columns), positions, -1).copy()
    room = 128 - np.abs(safe[:, ::2])
    safe[:, 1::2] = np.clip(safe[:, 1::2], -room, room)
    return safe.reshape(columns.shape)


def build(form: Form, output: str, b: Codes, *, scale_b: Codes, bias: Codes, scale_y: np.float32) -> bytes:
    """Serialise the form's model: input ``a`` (and ``b`` for MatMul), output ``y`` in float32 or uint8 codes.

    Args:
        form: the form.
        output: ``float32`` or ``uint8``.
        b: codes of B; they become an initializer for all but MatMul.
        scale_b: float32 scale of B, () for MatMul, else (n,).
        bias: (n,) int32, for Gemm and Conv.
        scale_y: scale of the uint8 output.
    """
    axis: dict[str, Any] = {"Gemm": {"axis": 1}, "Columns": {"axis": 1}}.get(form.op, {})
    if form.op in ("Conv", "Dense"):
        axis = {"axis": 0}
    rank = 4 if axis == {"axis": 0} else b.ndim
    constants: dict[str, Codes] = {
        "sa": np.asarray(_SCALE_A),
        "za": np.asarray(form.a[2], np.uint8),
        "sb": scale_b,
        "zb": np.full(scale_b.shape, form.b[2], form.b_type),
        "sy": np.asarray(scale_y),
        "zy": np.asarray(128, np.uint8),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["a", "sa", "za"], ["af"]),
        helper.make_node("DequantizeLinear", ["b", "sb", "zb"], ["bf"], **axis),
    ]
    inputs = [helper.make_tensor_value_info("a", TensorProto.UINT8, [None] * rank)]
    if form.op == "Columns":
        constants["b"] = b
        nodes.append(helper.make_node("MatMul", ["af", "bf"], ["y_float"]))
    elif form.op != "MatMul":
        constants |= {"b": b, "c": bias, "sc": _SCALE_A * scale_b, "zc": np.zeros(bias.shape, np.int32)}
        nodes.append(helper.make_node("DequantizeLinear", ["c", "sc", "zc"], ["cf"], axis=0))
        attributes: dict[str, Any] = {}
        if form.op == "Conv":
            window = kernel_of(len(b))
            constants["b"] = b.T.reshape(-1, 1, *window)
            attributes = {"group": b.shape[1], "kernel_shape": window, "strides": window}
        if form.op == "Dense":
            window = kernel_of(positions_of(len(b)))
            constants["b"] = b.T.reshape(b.shape[1], *window, -1).transpose(0, 3, 1, 2)
            attributes = {"kernel_shape": window, "strides": window}
        op = "Gemm" if form.op == "Gemm" else "Conv"
        nodes.append(helper.make_node(op, ["af", "bf", "cf"], ["y_float"], **attributes))
    else:
        inputs.append(helper.make_tensor_value_info("b", helper.np_dtype_to_tensor_dtype(b.dtype), [None] * b.ndim))
        nodes.append(helper.make_node("MatMul", ["af", "bf"], ["y_float"]))
    if output == "uint8":
        nodes.append(helper.make_node("QuantizeLinear", ["y_float", "sy", "zy"], ["y"]))
        outputs = [helper.make_tensor_value_info("y", TensorProto.UINT8, [None] * rank)]
    else:
        nodes[-1].output[0] = "y"
        outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * rank)]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "form", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=10)
    serialised: bytes = model.SerializeToString()
    return serialised


@dataclass(frozen=True)
class Case:
    """One model, its inputs and what it must give.

    Attributes:
        model: serialised ONNX.
        feed: inputs by name.
        expected: the output of plain integer arithmetic and the float32 requantisation.
        otherwise: what it would be with the scales applied one after the other, ``(float32(acc) * sa) * sb``.
    """

    model: bytes
    feed: dict[str, Codes]
    expected: Codes
    otherwise: Codes


def _coded(steps: Codes) -> Codes:
    coded: Codes = np.clip(np.rint(steps) + 128, 0, 255).astype(np.uint8)
    return coded


def make_case(form: Form, output: str, size: Size, roll: int, rng: Rng) -> Case:
    """Build a case; every product and sum of scales is float32, in onnxruntime's order.

    ``acc = (a - za) @ (b - zb) + bias`` in exact integers; ``y = float32(acc) * (sa * sb)``, or as codes
    ``clip(rint(float32(acc) * ((sa * sb) / sy)) + 128, 0, 255)``.
    """
    a, b = operands(form, size, roll, rng)
    # float64 products and sums below 2**53 are exact, and fast.
    acc = ((a.astype(np.float64) - form.a[2]) @ (b.astype(np.float64) - form.b[2])).astype(np.int64)
    layer = form.op != "MatMul"
    with_bias = form.op in ("Gemm", "Conv", "Dense")
    scale_b = (_SCALE_B * rng.uniform(0.5, 2, size.n)).astype(np.float32) if layer else np.asarray(_SCALE_B)
    bias = rng.integers(-5000, 5001, size.n).astype(np.int32) if with_bias else np.zeros(size.n, np.int32)
    acc = acc + bias
    product = _SCALE_A * scale_b
    # The largest value lands a little outside the uint8 range: both clips and the rounding are exercised.
    scale_y = np.float32(max(float(np.abs(acc * product.astype(np.float64)).max()) / 140, 1e-6))
    model = build(form, output, b, scale_b=scale_b, bias=bias, scale_y=scale_y)
    whole = acc.astype(np.float32)
    if output == "float32":
        expected, otherwise = whole * product, whole * _SCALE_A * scale_b
    else:
        expected, otherwise = _coded(whole * (product / scale_y)), _coded(whole * _SCALE_A * scale_b / scale_y)
    if form.op == "Conv":  # rows of windows below each other, the same ones in every channel
        high, wide = kernel_of(size.k)
        image = np.broadcast_to(a.reshape(1, 1, size.m * high, wide), (1, size.n, size.m * high, wide))
        image = np.ascontiguousarray(image)
        return Case(model, {"a": image}, expected.T[None, :, :, None], otherwise.T[None, :, :, None])
    if form.op == "Dense":
        high, wide = kernel_of(positions_of(size.k))
        image = a.reshape(size.m, high, wide, -1).transpose(3, 0, 1, 2).reshape(1, -1, size.m * high, wide)
        image = np.ascontiguousarray(image)
        return Case(model, {"a": image}, expected.T[None, :, :, None], otherwise.T[None, :, :, None])
    return Case(model, {"a": a} if layer else {"a": a, "b": b}, expected, otherwise)


KERNELS: dict[tuple[str, str], str] = {
    ("Columns", "float32"): "MatMulIntegerToFloat",
    ("Columns", "uint8"): "QLinearMatMul",
    ("Conv", "uint8"): "QLinearConv",
    ("Dense", "uint8"): "QLinearConv",
    ("Gemm", "float32"): "QGemm",
    ("Gemm", "uint8"): "QGemm",
    ("MatMul", "float32"): "MatMulIntegerToFloat",
    ("MatMul", "uint8"): "QLinearMatMul",
}
"""The kernel that onnxruntime must pick for a form's op and output type."""

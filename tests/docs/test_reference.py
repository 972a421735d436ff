"""The page of the reference says what the reference computes: its formulas are run."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from kernels_ref import Interpreter
from kernels_ref.code_ops import CODE_OPS
from kernels_ref.ops.table import CONTRIB_OPS, OPS
from tools.reference_page import KERNELS, PAGE, page

REPO = Path(__file__).resolve().parents[2]
F32 = np.float32
RANDOM = np.random.default_rng(7)
SCALE_A, SCALE_B, SCALE_Y = F32(0.0371), F32(0.0119), F32(0.0523)
ZERO_A, ZERO_B, ZERO_Y = np.uint8(117), np.uint8(140), np.uint8(121)
BIAS = RANDOM.integers(-9000, 9000, 6, dtype=np.int32)


def codes(*shape: int) -> np.ndarray:
    return RANDOM.integers(0, 256, shape, dtype=np.uint8)


def total(x: np.ndarray) -> np.ndarray:
    """A float32 sum along the last axis, first to last."""
    found = np.zeros((*x.shape[:-1], 1), F32)
    for i in range(x.shape[-1]):
        found = F32(found + x[..., i : i + 1])
    return found


def fma(x: Any, y: Any, z: Any) -> np.ndarray:
    exact = np.multiply(x, y, dtype=np.longdouble) + np.asarray(z, np.longdouble)
    return exact.astype(F32)


#: The words of the page, for codes of uint8.
WORDS: dict[str, Any] = {
    "f32": F32,
    "rint": np.rint,
    "clip": np.clip,
    "floor": np.floor,
    "fma": fma,
    "total": total,
    "saturate": lambda x: np.clip(x, 0, 255).astype(np.uint8),
    "sigmoid": lambda r: (1 / (1 + np.exp(-r.astype(np.float64)))).astype(F32),
    "leaky": lambda r: np.where(r >= 0, r, F32(0.01) * r),
    "scale_a": SCALE_A,
    "scale_b": SCALE_B,
    "scale_x": SCALE_A,
    "scale_y": SCALE_Y,
    "zero_a": F32(ZERO_A),
    "zero_b": F32(ZERO_B),
    "zero_x": F32(ZERO_A),
    "zero_y": F32(ZERO_Y),
}
A_OF, B_OF, Y_OF = (SCALE_A, ZERO_A), (SCALE_B, ZERO_B), (SCALE_Y, ZERO_Y)


def op(name: str, *inputs: Any, **attributes: Any) -> np.ndarray:
    with np.errstate(all="ignore"):
        return OPS[name]([None if x is None else np.asarray(x) for x in inputs], attributes)[0]


def convolved(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Exact sums over windows of 2 by 2, by definition."""
    windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.int64) - int(ZERO_A), (2, 2), axis=(2, 3))
    return np.einsum("nchwij,mcij->nmhw", windows, w.astype(np.int64) - int(ZERO_B))


def integer_to_float(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """What the reference makes of two DequantizeLinear and a MatMul: the kernel is no op of its own."""
    nodes = [
        helper.make_node("DequantizeLinear", ["a", "sa", "za"], ["ra"]),
        helper.make_node("DequantizeLinear", ["b", "sb", "zb"], ["rb"]),
        helper.make_node("MatMul", ["ra", "rb"], ["y"]),
    ]
    values = {"sa": SCALE_A, "za": ZERO_A, "sb": SCALE_B, "zb": ZERO_B}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, TensorProto.UINT8, x.shape) for name, x in (("a", a), ("b", b))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, None])],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )
    reference = Interpreter(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]))
    assert [kernel.op for kernel in reference.kernels][-1] == "MatMulIntegerToFloat"
    return reference.run({"a": a, "b": b})["y"]


def softmax_words(x: np.ndarray) -> dict[str, Any]:
    most = math.log(F32(F32(np.finfo(F32).max) / F32(x.shape[-1])))
    shift = (float(F32(most)) - 5) / float(SCALE_A)
    below = x.astype(np.float64) - x.max(axis=-1, keepdims=True) + shift
    return {"e": np.exp(below * float(SCALE_A)).astype(F32)}


def span_words(r: np.ndarray) -> dict[str, Any]:
    low, high = min(r.min(), F32(0)), max(r.max(), F32(0))
    return {"x": r, "low": low, "span": F32((high - low) / F32(255))}


def cases() -> dict[str, tuple[np.ndarray, dict[str, Any]]]:
    """What the reference gives for some codes, and what the words of the formula mean there, by the row's name."""
    a, b, c, x = codes(5, 40), codes(40, 6), codes(5, 40), codes(2, 3, 4, 6)
    image, w, r = codes(1, 3, 5, 5), codes(6, 3, 2, 2), RANDOM.normal(size=(9, 30)).astype(F32)
    acc = {"acc": (a.astype(np.int64) - int(ZERO_A)) @ (b.astype(np.int64) - int(ZERO_B))}
    biased = {"acc": acc["acc"] + BIAS}
    windows = convolved(image, w)
    flat, pair = {"x": x.astype(F32)}, {"a": a.astype(F32), "b": c.astype(F32)}
    rows = x.reshape(2, 3, 2, 2, 3, 2).transpose(0, 1, 2, 4, 3, 5).reshape(2, 3, 2, 3, 4).astype(F32)
    sums = x.astype(np.int64).sum((2, 3), keepdims=True) - 24 * int(ZERO_A)
    pooled = op("QLinearAveragePool", x, *A_OF, *Y_OF, kernel_shape=[2, 2], strides=[2, 2])
    return {
        "QuantizeLinear": (op("QuantizeLinear", r, *Y_OF), {"x": r}),
        "DequantizeLinear": (op("DequantizeLinear", x, *A_OF), flat),
        "DynamicQuantizeLinear": (op("DynamicQuantizeLinear", r), span_words(r)),
        "QGemm": (op("QGemm", a, *A_OF, b, *B_OF, BIAS, *Y_OF), biased),
        "QGemm (float)": (op("QGemm", a, *A_OF, b, *B_OF, BIAS), biased),
        "QLinearMatMul": (op("QLinearMatMul", a, *A_OF, b, *B_OF, *Y_OF), acc),
        "MatMulIntegerToFloat": (integer_to_float(a, b), acc),
        "MatMulInteger": (op("MatMulInteger", a, b, ZERO_A, ZERO_B), acc),
        "QLinearConv": (
            op("QLinearConv", image, *A_OF, w, *B_OF, *Y_OF, BIAS),
            {"acc": windows + BIAS[:, None, None]},
        ),
        "ConvInteger": (op("ConvInteger", image, w, ZERO_A, ZERO_B), {"acc": windows}),
        "QLinearAdd": (op("QLinearAdd", a, *A_OF, c, *B_OF, *Y_OF), pair),
        "QLinearMul": (op("QLinearMul", a, *A_OF, c, *B_OF, *Y_OF), pair),
        "QLinearConcat": (op("QLinearConcat", *Y_OF, x, *A_OF, axis=1), flat),
        "QLinearSigmoid": (op("QLinearSigmoid", x, *A_OF, *Y_OF), flat),
        "QLinearLeakyRelu": (op("QLinearLeakyRelu", x, *A_OF, *Y_OF), flat),
        "QLinearSoftmax": (op("QLinearSoftmax", x, *A_OF, *Y_OF), softmax_words(x)),
        "QLinearAveragePool": (pooled[..., None], {"x": rows, "n": F32(4)}),
        "QLinearGlobalAveragePool": (
            op("QLinearGlobalAveragePool", x, *A_OF, *Y_OF),
            {"acc": sums, "n": F32(24)},
        ),
    }


CASES = cases()


@pytest.mark.parametrize("row", KERNELS, ids=lambda row: row.name)
def test_a_formula_gives_the_bits_of_the_reference(row):
    found, words = CASES[row.name]
    told = eval(row.formula, {**WORDS, **words})
    assert found.size >= 6
    assert len(np.unique(found)) > 4  # not all at an end of the range
    if row.formula != "acc":
        assert told.dtype == found.dtype
    assert np.array_equal(told, found)


def test_every_kernel_on_codes_has_a_row():
    on_codes = {name for name in OPS if "Quantize" in name or "Integer" in name} | CONTRIB_OPS | {*CODE_OPS.values()}
    on_codes |= {"QLinearMatMul", "QLinearConv", "MatMulIntegerToFloat", "DequantizeLinear"}
    assert {row.name.partition(" ")[0] for row in KERNELS} == on_codes


def test_the_page_is_of_this_code():
    assert PAGE.read_text(encoding="utf-8") == page(), "python -m tools.reference_page"


def test_the_reference_imports_nothing_of_the_exporter():
    for path in (REPO / "kernels_ref").rglob("*.py"):
        assert "mptq_export" not in path.read_text(encoding="utf-8"), path

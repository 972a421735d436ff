"""Older opsets, against onnxruntime: attributes that became inputs, and Softmax of a matrix."""

from typing import Any

import numpy as np
import pytest
from integer_models import Array, assert_same_bits, model, runtime
from onnx import TensorProto, helper

from kernels_ref import Interpreter, InterpreterError

X = np.random.default_rng(1).standard_normal((3, 1, 4, 6)).astype(np.float32)
WHOLE = np.rint(X * 10)

FORMS: list[tuple[str, int, Array, dict[str, Any], int]] = [
    ("Clip", 7, X, {"min": -0.5, "max": 0.5}, 1),
    ("Clip", 10, X, {"max": 0.5}, 1),
    ("Clip", 7, np.asarray([np.inf, -np.inf, 1], np.float32), {}, 1),
    ("Pad", 10, X, {"pads": [0, 0, 1, 2, 0, 0, 0, 3], "value": 1.5}, 1),
    ("Pad", 8, X, {"pads": [0, 0, 1, 2, 0, 0, 0, 3], "mode": "reflect"}, 1),
    ("Slice", 9, X, {"starts": [1, -3], "ends": [3, 100], "axes": [2, 3]}, 1),
    ("Slice", 7, X, {"starts": [1, 0], "ends": [2, 1]}, 1),
    ("Squeeze", 11, X, {"axes": [1]}, 1),
    ("Squeeze", 12, X, {}, 1),
    ("Unsqueeze", 12, X, {"axes": [0, 3]}, 1),
    ("Split", 11, X, {"axis": 3, "split": [1, 5]}, 2),
    ("Split", 12, X, {"axis": 3}, 3),
    ("ReduceSum", 12, WHOLE, {"axes": [1, 3], "keepdims": 0}, 1),
    ("ReduceSum", 11, WHOLE, {}, 1),
    ("ReduceMax", 11, X, {"axes": [-1]}, 1),
]


def one(op: str, opset: int, x: Array, attributes: dict[str, Any], outputs: int = 1) -> Any:
    made = [f"y{index}" for index in range(outputs)]
    nodes = [helper.make_node(op, ["x"], made, op, **attributes)]
    return model(nodes, {"x": x}, dict.fromkeys(made, TensorProto.FLOAT), {}, opset)


@pytest.mark.parametrize(("op", "opset", "x", "attributes", "outputs"), FORMS)
def test_an_older_form_is_computed_as_it_was_meant(op: str, opset: int, x: Array, attributes: Any, outputs: int):
    assert_same_bits(one(op, opset, x, attributes, outputs), {"x": x})


@pytest.mark.parametrize("axis", [None, 0, 2, -1])
def test_softmax_was_one_of_a_matrix(axis: int | None):
    proto = one("Softmax", 12, X, {} if axis is None else {"axis": axis})
    got, expected = Interpreter(proto).run({"x": X})["y0"], runtime(proto, {"x": X})["y0"]
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    start = 1 if axis is None else axis % X.ndim
    np.testing.assert_allclose(got.sum(axis=tuple(range(start, X.ndim))), 1, rtol=1e-5)


def test_what_is_too_old_is_refused_by_name():
    with pytest.raises(InterpreterError, match="Clip node Clip: opset 6 is too old; export with opset 7"):
        Interpreter(one("Clip", 6, X, {"max": 1.0}))

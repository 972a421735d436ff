"""Forms of a product beside the plain one: packed weights, a transposed activation, and damaged files."""

import random
from pathlib import Path

import numpy as np
import onnx
import pytest
from integer_models import Array, assert_same_bits, model, node
from onnx import TensorProto

from kernels_ref import Interpreter, InterpreterError

RNG = np.random.default_rng(11)
K, N = 32, 12
A = RNG.integers(0, 256, (7, K), np.uint8)
W = RNG.integers(-8, 8, (K, N)).astype(np.int8)
CONSTANTS: dict[str, Array] = {
    "sa": np.float32(0.037),
    "za": np.uint8(110),
    "sw": RNG.uniform(0.01, 0.1, N).astype(np.float32),
    "zw": np.zeros(N, np.int8),
}


def product(**attributes: int) -> list[onnx.NodeProto]:
    return [
        node("DequantizeLinear", "a sa za", "af"),
        node("DequantizeLinear", "w sw zw", "wf", axis=1),
        node("Gemm", "af wf", "y", **attributes),
    ]


def test_weights_unpacked_from_bits():
    unsigned = (W + np.int8(8)).astype(np.uint8)
    packed = (unsigned[0::2] | (unsigned[1::2] << 4)).astype(np.uint8)
    unpack = [
        node("BitwiseAnd", "packed low_mask", "low"),
        node("BitShift", "packed four", "high", direction="RIGHT"),
        node("Unsqueeze", "low one", "low3"),
        node("Unsqueeze", "high one", "high3"),
        node("Concat", "low3 high3", "pairs", axis=1),
        node("Reshape", "pairs shape", "unsigned"),
        node("Cast", "unsigned", "signed", to=TensorProto.INT8),
        node("Sub", "signed eight", "w"),
    ]
    constants = CONSTANTS | {
        "packed": packed,
        "low_mask": np.uint8(15),
        "four": np.uint8(4),
        "eight": np.int8(8),
        "one": np.asarray([1], np.int64),
        "shape": np.asarray([K, N], np.int64),
    }
    proto = model([*unpack, *product()], {"a": A}, {"y": TensorProto.FLOAT}, constants)
    assert (assert_same_bits(proto, {"a": A})["w"] == W).all()


@pytest.mark.parametrize("rows", [1, 7, 16])
def test_a_transposed_activation(rows: int):
    a = RNG.integers(0, 256, (K, rows), np.uint8)
    assert_same_bits(model(product(transA=1), {"a": a}, {"y": TensorProto.FLOAT}, CONSTANTS | {"w": W}), {"a": a})


def test_a_float_product_that_has_two_readers():
    nodes = [*product(), node("Add", "y y", "twice"), node("Abs", "y", "size")]
    proto = model(nodes, {"a": A}, {"twice": TensorProto.FLOAT, "size": TensorProto.FLOAT}, CONSTANTS | {"w": W})
    assert_same_bits(proto, {"a": A})


def test_damaged_files_raise_one_line_and_nothing_else(tmp_path: Path):
    proto = model(product(), {"a": A}, {"y": TensorProto.FLOAT}, CONSTANTS | {"w": W})
    whole, dice, path = proto.SerializeToString(), random.Random(0), tmp_path / "m.onnx"
    cut = [whole[:size] for size in range(0, len(whole), 17)]
    changed = []
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(dice.choice([1, 2, 4])):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        changed.append(bytes(damaged))
    refused = 0
    for content in [*cut, *changed]:
        path.write_bytes(content)
        try:
            Interpreter(path).run({"a": A})
        except InterpreterError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 100


def test_an_error_stays_one_line_whatever_a_file_calls_its_tensors():
    assert str(InterpreterError("graph input a\nb is unknown")) == "graph input a b is unknown"

"""Element-wise functions of codes: looked up without a trace, computed with one, the same bits."""

from typing import Any

import numpy as np
import onnx
import pytest
from integer_models import Array, assert_same_bits, model, node
from onnx import TensorProto

from kernels_ref import Interpreter
from kernels_ref.lookup import Lookup

RNG = np.random.default_rng(2)
EVERY = {kind: np.arange(256, dtype=np.uint8).view(kind).reshape(8, 32) for kind in (np.uint8, np.int8)}


def lookups(proto: onnx.ModelProto) -> list[str]:
    """The tensors that a run without trace looks up."""
    interpreter = Interpreter(proto)
    return [step.outputs[0] for step in interpreter._steps if isinstance(step.compute, Lookup)]


def assert_trace_agrees(proto: onnx.ModelProto, feeds: dict[str, Array]) -> dict[str, Array]:
    """A run gives what the trace, which looks nothing up, gives."""
    interpreter = Interpreter(proto)
    got, trace = interpreter.run(feeds), interpreter.run(feeds, trace=True)
    for name, value in got.items():
        assert value.dtype == trace[name].dtype and value.shape == trace[name].shape
        assert value.tobytes() == trace[name].tobytes()
    assert trace.keys() == {name for entry in proto.graph.node for name in entry.output}
    return got


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
@pytest.mark.parametrize("to", [np.uint8, np.int8])
@pytest.mark.parametrize("op", ["Gelu", "Tanh", "Exp"])
def test_a_function_of_every_code(kind: type, to: type, op: str):
    nodes = [node("DequantizeLinear", "x s z", "f"), node(op, "f", "g"), node("QuantizeLinear", "g sy zy", "q")]
    constants = {"s": np.float32(0.043), "z": kind(3), "sy": np.float32(0.0391), "zy": to(7)}
    code = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(to))
    proto = model(nodes, {"x": EVERY[kind]}, {"q": code}, constants)
    assert lookups(proto) == ["q"]
    got = assert_trace_agrees(proto, {"x": EVERY[kind]})
    x = (EVERY[kind].astype(np.int64) - 3).astype(np.float32) * np.float32(0.043)
    alone = {"Tanh": np.tanh, "Exp": np.exp}.get(op)
    if alone is not None:
        y = np.rint(alone(x.astype(np.float64)).astype(np.float32) / np.float32(0.0391)).astype(np.int64) + 7
        assert (got["q"] == y.clip(np.iinfo(to).min, np.iinfo(to).max)).all()


def test_regions_join_in_one_table():
    nodes = [
        node("DequantizeLinear", "x s z", "f"),
        node("Gelu", "f", "g"),
        node("QuantizeLinear", "g fine zero", "a"),
        node("Clip", "a zero six", "ac"),
        node("QuantizeLinear", "g coarse zero", "b"),
        node("Clip", "b one eight", "bc"),
        node("DequantizeLinear", "ac unit zero", "af"),
        node("DequantizeLinear", "bc four one", "bf"),
        node("Add", "af bf", "sum"),
        node("QuantizeLinear", "sum unit zero", "q"),
    ]
    constants = {name: np.uint8(value) for name, value in {"z": 158, "zero": 0, "one": 1, "six": 6, "eight": 8}.items()}
    constants |= {
        name: np.float32(v) for name, v in {"s": 0.07, "fine": 0.08, "coarse": 0.32, "unit": 1, "four": 4}.items()
    }
    x = RNG.integers(0, 256, (3, 5, 7), np.uint8)
    proto = model(nodes, {"x": x}, {"q": TensorProto.UINT8}, constants)
    assert lookups(proto) == ["q"]
    assert_trace_agrees(proto, {"x": x})
    assert_trace_agrees(proto, {"x": x.transpose(2, 0, 1)})


def softmax(scale: float, kind: type, **reduction: Any) -> onnx.ModelProto:
    nodes = [
        node("ReduceMax", "x axes", "peak", **reduction),
        node("DequantizeLinear", "x s z", "f"),
        node("DequantizeLinear", "peak s z", "p"),
        node("Sub", "f p", "d"),
        node("Exp", "d", "e"),
        node("QuantizeLinear", "e sy zy", "q"),
        node("Clip", "q low high", "c"),
        node("Cast", "c", "float", to=TensorProto.FLOAT),
        node("ReduceSum", "float axes", "sum"),
    ]
    constants = {"axes": np.asarray([-1], np.int64), "s": np.float32(scale), "z": kind(42), "sy": np.float32(1 / 255)}
    constants |= {"zy": np.uint8(0), "low": np.uint8(0), "high": np.uint8(250)}
    return model(nodes, {"x": EVERY[kind]}, {"c": TensorProto.UINT8, "sum": TensorProto.FLOAT}, constants)


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
def test_softmax_by_the_distance_to_the_peak(kind: type):
    proto = softmax(0.0678253174, kind)  # 16 bits of mantissa: scale times code is exact
    assert lookups(proto) == ["c"]
    for x in (EVERY[kind], RNG.permutation(EVERY[kind].ravel()).reshape(2, 4, 4, 8)[0, 0], EVERY[kind][:, :1]):
        assert_trace_agrees(proto, {"x": x})


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
def test_a_peak_that_is_written_out_for_every_code(kind: type):
    """Expand(peak) instead of broadcasting: the same table."""
    proto = softmax(0.0678253174, kind)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([8, 32], np.int64), "sizes"))
    proto.graph.node.insert(1, node("Expand", "peak sizes", "peaks"))
    proto.graph.node[3].input[0] = "peaks"
    assert lookups(proto) == ["c"]
    for x in (EVERY[kind], RNG.permutation(EVERY[kind].ravel()).reshape(8, 32)):
        assert_trace_agrees(proto, {"x": x})


def test_every_pair_of_a_code_and_its_peak():
    proto = softmax(0.0678253174, np.uint8)
    pairs = np.stack(np.meshgrid(np.arange(256), np.arange(256)), -1).reshape(-1, 2).astype(np.uint8)
    assert_trace_agrees(proto, {"x": pairs})


@pytest.mark.parametrize(("scale", "found"), [(0.125, ["q"]), (0.1, [])])
def test_distances_that_do_not_decide_are_computed(scale: float, found: list[str]):
    """Half a step a code: with 0.1 the last bits of scale times code decide where an odd distance is rounded to."""
    nodes = [
        node("ReduceMax", "x axes", "peak"),
        node("DequantizeLinear", "x s z", "f"),
        node("DequantizeLinear", "peak s z", "p"),
        node("Sub", "f p", "d"),
        node("QuantizeLinear", "d s2 z2", "q"),
    ]
    constants = {"axes": np.asarray([-1], np.int64), "s": np.float32(scale), "z": np.uint8(42)}
    constants |= {"s2": np.float32(2 * scale), "z2": np.uint8(255)}
    proto = model(nodes, {"x": EVERY[np.uint8]}, {"q": TensorProto.UINT8}, constants)
    assert lookups(proto) == found
    assert_same_bits(proto, {"x": RNG.integers(0, 256, (40, 50), np.uint8)})


def test_a_function_of_the_peak_and_not_the_distance():
    proto = softmax(0.02, np.uint8)
    proto.graph.node[3].op_type = "Add"
    assert lookups(proto) == []
    assert_trace_agrees(proto, {"x": EVERY[np.uint8]})


def test_a_maximum_that_loses_its_axis_is_none_of_the_codes():
    proto = softmax(0.0678253174, np.uint8, keepdims=0)
    assert lookups(proto) == []
    x = RNG.integers(0, 256, (6, 6), np.uint8)  # broadcasts along the wrong axis: codes above their "peak"
    assert_trace_agrees(proto, {"x": x})


@pytest.mark.parametrize("other", ["a vector", "an axis more", "two codes"])
def test_what_depends_on_more_than_the_code_is_computed(other: str):
    constants: dict[str, Array] = {"s": np.float32(0.04), "z": np.uint8(9), "sy": np.float32(0.02)}
    feeds = {"x": EVERY[np.uint8]}
    if other == "two codes":
        feeds["b"] = EVERY[np.uint8][::-1].copy()
    else:
        constants["b"] = np.ones(32 if other == "a vector" else (1, 1), np.float32)
    nodes = [node("DequantizeLinear", "x s z", "f"), node("QuantizeLinear", "sum sy z", "q")]
    nodes.insert(1, node("Add", "f b" if "b" in constants else "f bf", "sum"))
    if "b" in feeds:
        nodes.insert(0, node("DequantizeLinear", "b s z", "bf"))
    proto = model(nodes, feeds, {"q": TensorProto.UINT8}, constants)
    assert lookups(proto) == []
    assert_same_bits(proto, feeds)


def test_a_code_that_an_op_refuses_leaves_the_table_out():
    nodes = [node("Cast", "x", "i", to=TensorProto.INT32), node("Div", "hundred i", "d"), node("Cast", "d", "q", to=2)]
    x = np.maximum(EVERY[np.uint8], 1)
    proto = model(nodes, {"x": x}, {"q": TensorProto.UINT8}, {"hundred": np.int32(100)})
    assert lookups(proto) == []
    assert_same_bits(proto, {"x": x})


def test_an_inner_tensor_that_is_an_output_is_still_there():
    nodes = [node("DequantizeLinear", "x s z", "f"), node("Gelu", "f", "g"), node("QuantizeLinear", "g s z", "q")]
    constants = {"s": np.float32(0.05), "z": np.uint8(100)}
    proto = model(nodes, {"x": EVERY[np.uint8]}, {"g": TensorProto.FLOAT, "q": TensorProto.UINT8}, constants)
    assert_trace_agrees(proto, {"x": EVERY[np.uint8]})


def test_no_codes_at_all():
    proto = softmax(0.0678253174, np.uint8)
    assert_trace_agrees(proto, {"x": np.zeros((0, 5), np.uint8)})

"""Intervals hold whatever the input, and every operator of an exact file has a kind, a definition and a bound."""

import math
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tiny_models import images, quantized, size

from kernels_ref import Interpreter
from mptq_export.dossier.contents import Operator
from mptq_export.dossier.interval import Interval
from mptq_export.dossier.operators import operators_of
from mptq_export.dossier.ranges import ranges
from mptq_export.emit.exact.emitter import emit
from mptq_export.emit.sonnx.run import spelled_out
from mptq_export.quantize.method import BEST, MINMAX
from mptq_export.recipe.onnx_contents import contents_of
from mptq_export.recipe.schema import Recipe
from mptq_export.verify.constants import constant_tensors

#: One of each that adds an op, a norm or a form of attention.
CHOSEN = (
    *("vit", "gap", "swin", "clip", "rms_norm", "eva", "cait", "swinv2", "levit", "convit", "visformer", "crossvit"),
    *("maxvit", "sam"),
)
PLAIN = [(kind, (8, 8), MINMAX) for kind in CHOSEN] + [("vit", (3, 3), BEST), ("swin", (4, 5), BEST)]
#: Files of `--profile sonnx`, where rows of attention are summed in one matrix.
SPELLED = [("vit", (3, 3), BEST), ("swin", (8, 8), MINMAX), ("convit", (8, 8), MINMAX), ("cait", (8, 8), MINMAX)]
CASES = PLAIN + SPELLED
NAMES = [f"{kind}-{bits[0]}" for kind, bits, _ in PLAIN] + [f"{kind}-{bits[0]}-sonnx" for kind, bits, _ in SPELLED]


@cache
def made(number: int) -> tuple[onnx.ModelProto, Recipe, tuple[Operator, ...]]:
    """An exact file of one kind, its recipe, and its operators as a dossier has them."""
    kind, bits, method = CASES[number]
    graph, recipe = quantized(kind, bits, method)
    model = emit(graph, recipe, input_type="float32", producer="1")
    if number >= len(PLAIN):
        model = spelled_out(model, batch=2)
    return model, recipe, operators_of(model, contents_of(model), (), ())


def inputs(kind: str) -> Iterator[NDArray[Any]]:
    """Pictures, noise, and what is far beyond either."""
    noise = np.random.default_rng(0).normal(size=(2, *size(kind))).astype(np.float32)
    yield from (images(kind, 2).numpy(), noise, noise * 1e20, np.full_like(noise, np.inf), np.zeros_like(noise))
    yield np.where(np.indices(noise.shape).sum(0) % 2, np.float32(3e38), np.float32(-3e38))


@pytest.mark.parametrize("number", range(len(CASES)), ids=NAMES)
def test_no_value_leaves_its_interval(number: int):
    model, _, operators = made(number)
    ends = {each.name: (each.low, each.high) for operator in operators for each in operator.outputs}
    outside = []

    def look(name: str, values: NDArray[Any]) -> None:
        low, high = ends[name]
        found = values[~np.isnan(values)] if values.dtype.kind == "f" else values  # of infinities, before any code
        if found.size and ((low is not None and found.min() < low) or (high is not None and found.max() > high)):
            outside.append((name, float(found.min()), float(found.max()), low, high))

    interpreter = Interpreter(model)
    for values in inputs(CASES[number][0]):
        interpreter.run({"input": values}, trace=True, observe=look)
    assert not outside


@pytest.mark.parametrize("number", range(len(CASES)), ids=NAMES)
def test_only_what_an_infinite_input_reaches_has_no_bound(number: int):
    """From the first codes on everything is bounded."""
    _, _, operators = made(number)
    coded: set[str] = set()
    unbounded = []
    for operator in operators:
        if operator.op == "QuantizeLinear" or any(each.name in coded for each in operator.inputs):
            coded.update(each.name for each in operator.outputs)
            unbounded += [each.name for each in operator.outputs if each.low is None or each.high is None]
    assert not unbounded


@pytest.mark.parametrize("number", range(len(CASES)), ids=NAMES)
def test_intervals_and_the_proof_bound_the_residual_alike(number: int):
    """Two computations of one worst case: the intervals of the file never leave the claim of the export."""
    _, recipe, operators = made(number)
    intervals = {each.name: each for operator in operators for each in operator.outputs}
    compared = 0
    for claim in recipe.proof:
        stream = intervals.get(f"{claim.layer}.grid")
        if claim.what == "residual in grid steps" and stream is not None:
            assert stream.low is not None and stream.high is not None
            assert max(-stream.low, stream.high) <= claim.value * (1 + 2**-10) + 2
            compared += 1
    assert compared or "vit" not in NAMES[number]


@pytest.mark.parametrize("number", range(len(CASES)), ids=NAMES)
def test_every_operand_has_type_and_shape(number: int):
    _, _, operators = made(number)
    operands = [each for operator in operators for each in (*operator.inputs, *operator.outputs) if each.name]
    assert [each.name for each in operands if not each.type or each.shape is None] == []


def of_nodes(*nodes: onnx.NodeProto, constants: dict[str, NDArray[Any]]) -> dict[str, Interval]:
    """Intervals of a graph from uint8 codes `x`, [2, 4]."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [2, 4])],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    return ranges(model, constant_tensors(model), {"x": (2, 4), "f": (2, 4)})


VALUES = helper.make_node("DequantizeLinear", ["x", "s", "z"], ["f"])
SCALED = {"s": np.float32(0.5), "z": np.uint8(128)}


def test_the_ends_are_those_of_the_definition():
    found = of_nodes(VALUES, helper.make_node("QuantizeLinear", ["f", "s2", "z2"], ["c"]), constants=SCALED | {
        "s2": np.float32(1), "z2": np.int8(10)
    })  # fmt: skip
    assert found["f"] == Interval(-64.0, 63.5).wider()
    assert found["c"] == Interval(-54, 74)


@pytest.mark.parametrize(
    ("node", "low", "high"),
    [
        (helper.make_node("Mul", ["f", "f"], ["y"]), 0, 4096),
        (helper.make_node("Sub", ["f", "f"], ["y"]), -127.5, 127.5),
        (helper.make_node("Abs", ["f"], ["y"]), 0, 64),
        (helper.make_node("Div", ["s", "f"], ["y"]), -math.inf, math.inf),
        (helper.make_node("Gelu", ["f"], ["y"]), -0.1701, 63.5),
        (helper.make_node("ReduceSum", ["f", "axes"], ["y"]), -256, 254),
        (helper.make_node("MatMul", ["f", "w"], ["y"]), -256, 254),
        (helper.make_node("Gemm", ["f", "w"], ["y"], alpha=1.0, beta=1.0, transA=0, transB=0), -256, 254),
        (helper.make_node("Gemm", ["f", "w", "rows"], ["y"]), -257, 256),
        (helper.make_node("Softplus", ["f"], ["y"]), -math.inf, math.inf),
    ],
    ids=lambda value: value.op_type if isinstance(value, onnx.NodeProto) else "",
)
def test_a_step(node: onnx.NodeProto, low: float, high: float):
    constants = {**SCALED, "axes": np.asarray([1]), "w": np.full((4, 1), 1, np.float32)}
    constants["rows"] = np.asarray([[-1], [2]], np.float32)  # a bias that was spread over the rows
    found = of_nodes(VALUES, node, constants=constants)["y"]
    assert found.low == pytest.approx(low, rel=1e-5, abs=1e-3) and found.high == pytest.approx(high, rel=1e-5)


def test_a_distance_to_the_maximum_is_never_above_zero_and_a_mean_stays_among_its_values():
    nodes = (
        VALUES,
        helper.make_node("ReduceMax", ["x", "axes"], ["m"]),
        helper.make_node("DequantizeLinear", ["m", "s", "z"], ["peak"]),
        helper.make_node("Sub", ["f", "peak"], ["d"]),
        helper.make_node("DequantizeLinear", ["x", "one", "zero"], ["u"]),
        helper.make_node("MatMul", ["u", "v"], ["sums"]),
        helper.make_node("MatMul", ["u", "ones"], ["weights"]),
        helper.make_node("Div", ["sums", "weights"], ["y"]),
    )
    constants = {
        **SCALED,
        "axes": np.asarray([1]),
        "one": np.float32(1),
        "zero": np.uint8(0),
        "v": np.asarray([[-3], [5], [1], [2]], np.float32),
        "ones": np.ones((4, 1), np.float32),
    }
    found = of_nodes(*nodes, constants=constants)
    assert found["d"].high == 0 and found["d"].low == pytest.approx(-127.5, rel=1e-5)
    assert found["y"] == Interval(-3.0, 5.0).wider()

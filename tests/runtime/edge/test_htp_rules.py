"""What Qualcomm's HTP takes, each rule run on its simulator: whole, in integers, and as the file says, or not.

The rules of the table of targets for `qnn` are these. QNN's own graph says in which types it computes (`qnn_graph.py`).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from mptq_export.runtime.edge.qnn import QnnSession, open_qnn
from mptq_export.support.errors import MptqError
from tests.qdq_graphs import MICROSOFT, Codes, FloatGraph, Weights, quantized, save
from tests.qdq_vit import IMAGES, s8_vit, u8_vit, u16_stream_vit

pytest.importorskip("onnxruntime_qnn", reason="the HTP simulator comes with pip install onnxruntime-qnn")

SHAPE = (17, 32)
SAMPLES = np.random.default_rng(1).standard_normal((3, *SHAPE)).astype(np.float32)
QUANTIZED_NORM = Weights(norm="u8")
RANDOM = np.random.default_rng(2)
U8, U16 = Codes("u8"), Codes("u16")
CODES = {"u8": U8, "u16": U16, "s8": Codes("s8", symmetric=True), "s16": Codes("s16", symmetric=True)}

Build = Callable[[FloatGraph], str]


def normal(graph: FloatGraph, *shape: int) -> str:
    return graph.constant((RANDOM.standard_normal(shape) / shape[0] ** 0.5).astype(np.float32))


def gemm(graph: FloatGraph) -> str:
    return graph.add("Gemm", "x", normal(graph, 32, 24), normal(graph, 24), name="op")


def layer_norm(graph: FloatGraph) -> str:
    scale = graph.constant((1 + 0.2 * RANDOM.standard_normal(32)).astype(np.float32))
    return graph.add("LayerNormalization", "x", scale, normal(graph, 32), axis=-1, name="op")


def scores(graph: FloatGraph) -> str:
    return graph.add("MatMul", "x", graph.add("Transpose", "x", perm=[1, 0], name="k"), name="op")


def softmax(graph: FloatGraph) -> str:
    return graph.add("Softmax", "x", axis=-1, name="op")


def gelu(graph: FloatGraph) -> str:
    return graph.add("Gelu", "x", name="op")


def plus(graph: FloatGraph) -> str:
    return graph.add("Add", "x", normal(graph, *SHAPE), name="op")


def reshape(graph: FloatGraph) -> str:
    return graph.add("Reshape", "x", graph.constant(np.array([17, 4, 8])), name="op")


def gelu_in_parts(graph: FloatGraph) -> str:
    x = graph.add("Div", "x", graph.constant(np.float32(2**0.5)))
    x = graph.add("Add", graph.add("Erf", x), graph.constant(np.float32(1)))
    x = graph.add("Mul", "x", x)
    return graph.add("Mul", x, graph.constant(np.float32(0.5)), name="op")


def coded(
    build: Build, inside: Codes, outside: Codes | None = None, *, second: Codes | None = None, **how: Any
) -> onnx.ModelProto:
    """One op that reads codes and writes codes, the same ones or others, and a Transpose of what it wrote.

    `second` are codes of the second operand of a product.
    """
    graph = FloatGraph(SHAPE)
    output = build(graph)
    end = graph.add("Transpose", output, perm=list(range(3 if build is reshape else 2))[::-1], name="end")
    outside = outside or inside

    def codes(name: str, _op: str) -> Codes:
        if name == "k" and second is not None:
            return second
        return outside if name in {"op", "end"} else inside

    recoded = {("x", "k"): second} if second is not None else None
    how = {"weights": QUANTIZED_NORM, "opset": 21, "ir": 10, "recoded": recoded, **how}
    return quantized(graph, end, SAMPLES, codes, **how)


def opened(model: onnx.ModelProto, folder: Path) -> QnnSession:
    return open_qnn(save(model, folder / "m.onnx"))


def in_integers(session: QnnSession) -> bool:
    return not session.placement.left and not session.placement.floating


def numbers(session: QnnSession, op: str) -> set[str]:
    """Types in which QNN computes an op."""
    return {placed.numbers for placed in session.placement.ops if placed.op == op and placed.where == "HTP"}


def left(session: QnnSession) -> set[str]:
    """Ops that the CPU computes."""
    return {placed.op for placed in session.placement.left}


def results(model: onnx.ModelProto, session: QnnSession, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outputs there, and what the file says."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    written = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    there = np.concatenate([session.run(x)["y"] for x in inputs])
    return there, np.concatenate([written.run(None, {"x": x})[0] for x in inputs])


def steps_off(model: onnx.ModelProto, session: QnnSession) -> float:
    """Mean distance to what the file says, in steps of its last codes."""
    end = next(node for node in model.graph.node if "y" in node.output)
    step = next(numpy_helper.to_array(held) for held in model.graph.initializer if held.name == end.input[1])
    there, here = results(model, session, SAMPLES)
    return float(np.abs(there - here).mean() / step)


@pytest.mark.parametrize("build", [gemm, layer_norm, scores, softmax, gelu, plus, reshape])
@pytest.mark.parametrize("width", ["u8", "u16"])
def test_one_unsigned_width_through_an_op_is_whole_in_integers_and_right(build: Build, width: str, tmp_path: Path):
    model = coded(build, CODES[width], second=U8 if build is scores else None)
    session = opened(model, tmp_path)
    assert in_integers(session)
    assert steps_off(model, session) < {"u8": 0.5, "u16": 16}[width]


@pytest.mark.parametrize("build", [scores, softmax, plus])
def test_two_widths_around_an_op_make_it_float(build: Build, tmp_path: Path):
    session = opened(coded(build, U16, U8), tmp_path)
    assert not session.placement.left
    assert session.placement.floating


def test_two_widths_around_a_gelu_are_refused(tmp_path: Path):
    with pytest.raises(MptqError, match="Failed to finalize"):
        opened(coded(gelu, U8, U16), tmp_path)


def test_two_widths_around_a_gemm_put_its_constants_on_the_cpu(tmp_path: Path):
    assert left(opened(coded(gemm, U8, U16), tmp_path))


@pytest.mark.parametrize("widths", [("u8", "u16"), ("u16", "u8")])
def test_a_second_pair_of_codes_changes_the_width_in_integers(widths: tuple[str, str], tmp_path: Path):
    before, after = widths
    graph = FloatGraph(SHAPE)
    end = graph.add("Gelu", "x", name="op")
    model = quantized(
        graph, end, SAMPLES, lambda name, _op: CODES[before if name == "x" else after],
        recoded={("x", "op"): CODES[after]}, opset=21, ir=10,
    )  # fmt: skip
    session = opened(model, tmp_path)
    assert in_integers(session)
    assert numbers(session, "Convert") == {f"{before} -> {after}"}


def test_the_second_operand_of_a_product_of_u16_is_made_u8_by_the_provider(tmp_path: Path):
    session = opened(coded(scores, U16), tmp_path)
    assert numbers(session, "MatMul") == {"u16 x u8 -> u16"}
    assert numbers(session, "Convert") == {"u16 -> u8"}


def test_a_product_of_s16_goes_to_the_cpu(tmp_path: Path):
    assert "MatMul" in left(opened(coded(scores, CODES["s16"]), tmp_path))


@pytest.mark.parametrize(
    ("codes", "norm", "runs"),
    [
        ("u8", "u8", "u8 x u8 x s32 -> u8"),
        ("u16", "u8", "u16 x u8 x s32 -> u16"),
        ("s8", "s8", "s8 x s8 x s32 -> s8"),
        ("u8", "float", "f32 x f32 x f32 -> f32"),
        ("u16", "s8", None),
        ("u16", "u16", None),
        ("s16", "s16", None),
    ],
)
def test_a_norm_runs_in_integers_with_an_8_bit_scale_and_a_32_bit_bias(
    codes: str, norm: str, runs: str | None, tmp_path: Path
):
    session = opened(coded(layer_norm, CODES[codes], weights=Weights(norm=norm)), tmp_path)
    assert numbers(session, "LayerNorm") == ({runs} if runs else set())
    assert ("LayerNormalization" in left(session)) == (runs is None)


@pytest.mark.parametrize(
    ("codes", "weights", "whole"),
    [
        ("u8", "s4", True),
        ("u16", "s4", True),
        ("u8", "u8", True),
        ("s8", "s4", False),
        ("s8", "u8", False),
        ("u16", "s16", False),
    ],
)
def test_weights_of_4_bits_want_unsigned_codes(codes: str, weights: str, whole: bool, tmp_path: Path):
    how = Weights(weights, per_channel=weights != "s16")
    assert in_integers(opened(coded(gemm, CODES[codes], weights=how), tmp_path)) == whole


@pytest.mark.parametrize("bias", ["s32", "float"])
def test_a_bias_may_be_codes_or_float(bias: str, tmp_path: Path):
    session = opened(coded(gemm, U8, weights=Weights(bias=bias)), tmp_path)
    assert numbers(session, "FullyConnected") == {"u8 x s8 x s32 -> u8"}


@pytest.mark.parametrize("scale", [1 / 255, 1 / 256, 1 / 100])
def test_unsigned_softmax_codes_may_have_any_scale(scale: float, tmp_path: Path):
    model = coded(softmax, U8, Codes("u8", scale=scale))
    session = opened(model, tmp_path)
    assert in_integers(session)
    assert steps_off(model, session) < 0.5


@pytest.mark.parametrize(
    ("weights", "codes", "start", "own_scale", "right"),
    [
        ("s4", "u16", 3, False, False),
        ("s4", "u16", 3, True, True),
        ("s4", "u16", 0, False, True),
        ("s4", "u8", 3, False, True),
        ("s8", "u16", 3, False, True),
    ],
)
def test_a_cut_of_16_bit_codes_in_front_of_4_bit_weights_is_wrong_in_silence_unless_it_has_its_own_scale(
    weights: str, codes: str, start: int, own_scale: bool, right: bool, tmp_path: Path
):
    graph = FloatGraph((1, 18, 64))
    cut = graph.add("Slice", "x", *(graph.constant(np.array([n])) for n in (start, start + 1, 1)), name="cut")
    rows = graph.add("Reshape", cut, graph.constant(np.array([1, 64])), name="rows")
    end = graph.add("Gemm", rows, normal(graph, 64, 10), normal(graph, 10), name="op")
    samples = np.random.default_rng(1).standard_normal((3, 18, 64)).astype(np.float32)
    step = 9 / (2 ** int(codes[1:]) - 1)
    whole, own = (Codes(codes, scale=factor * step, zero=2 ** (int(codes[1:]) - 1)) for factor in (1, 1.0001))

    def chosen(name: str, _op: str) -> Codes:
        return CODES[codes] if name == "op" else own if own_scale and name != "x" else whole

    model = quantized(graph, end, samples, chosen, weights=Weights(weights), opset=21, ir=10)
    session = opened(model, tmp_path)
    assert in_integers(session)
    there, here = results(model, session, samples[:, None])
    assert (np.square(there - here).mean() < 0.01 * np.square(here).mean()) == right


def test_gelu_in_parts_with_codes_between_leaves_erf_to_the_cpu(tmp_path: Path):
    assert left(opened(coded(gelu_in_parts, U8), tmp_path)) >= {"Erf"}


@pytest.mark.parametrize("make", [u8_vit, lambda: u8_vit(weights=Weights("s4", norm="u8")), u16_stream_vit])
def test_a_transformer_is_whole_in_integers_and_right(make: Callable[[], onnx.ModelProto], tmp_path: Path):
    model = make()
    session = opened(model, tmp_path)
    assert in_integers(session)
    there, here = results(model, session, IMAGES[:, None])
    assert (there.argmax(1) == here.argmax(1)).mean() > 0.8
    assert np.square(there - here).mean() < 0.01 * np.square(here).mean()


def test_signed_softmax_codes_around_0_are_whole_and_wrong(tmp_path: Path):
    model = s8_vit(Codes("s8", scale=1 / 127))
    session = opened(model, tmp_path)
    assert in_integers(session)
    there, here = results(model, session, IMAGES[:, None])
    assert np.square(there - here).mean() > 0.5 * np.square(here).mean()


def test_signed_softmax_codes_from_the_lowest_on_are_right(tmp_path: Path):
    model = s8_vit(Codes("s8", scale=1 / 256, zero=-128))
    session = opened(model, tmp_path)
    assert in_integers(session)
    there, here = results(model, session, IMAGES[:, None])
    assert np.square(there - here).mean() < 0.02 * np.square(here).mean()


@pytest.mark.parametrize(("opset", "ir", "domain"), [(21, 10, ""), (20, 9, MICROSOFT)])
def test_16_bit_codes_are_read_in_both_spellings(opset: int, ir: int, domain: str, tmp_path: Path):
    assert in_integers(opened(coded(plus, U16, opset=opset, ir=ir, domain=domain), tmp_path))

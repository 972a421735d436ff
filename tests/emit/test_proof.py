"""What cannot be proved exact is refused by the name of its layer; what is proved is written down."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from tiny_models import KINDS, images, prepared, quantized, recipe

from mptq_export.capture.graph import Graph, Node, Shape
from mptq_export.capture.ops import (
    Activation,
    Input,
    LayerNorm,
    Linear,
    Matmul,
    PatchEmbed,
    Softmax,
    ToPixels,
)
from mptq_export.emit.builder import OnnxBuilder
from mptq_export.emit.exact.emitter import emit
from mptq_export.emit.exact.grid import snap
from mptq_export.emit.exact.proof import Proof, Quantity
from mptq_export.emit.exact.values import Floats
from mptq_export.quantize.certification.boundaries import MARGIN
from mptq_export.quantize.certification.certify import Results, activation_results
from mptq_export.recipe.schema import ActivationQuant, Recipe
from mptq_export.support.errors import MptqError
from mptq_export.verify.compare import verify_model

from .conftest import Emitted

LAYER = "blocks.1.mlp.fc1"


def refusal(graph: Graph, made: Recipe) -> str:
    with pytest.raises(MptqError) as caught:
        emit(graph, made, input_type="float32", producer="1")
    assert not made.proof
    assert "\n" not in str(caught.value)
    return str(caught.value)


def with_codes(change: Callable[[np.ndarray], None]) -> Recipe:
    made = recipe("vit")
    codes = made.weights[LAYER].codes.copy()
    change(codes)
    made.weights[LAYER] = replace(made.weights[LAYER], codes=codes)
    return made


def with_scale(key: str, wanted: Callable[[float], bool]) -> Recipe:
    """A recipe whose quantizer has the nearest scale that a claim should refuse."""
    made = recipe("vit")
    quant = made.activations[key]
    for n in range(1, 20_000):
        scale = float(np.float32(quant.scale * (1 + 1e-6 * n)))
        if wanted(scale):
            made.activations[key] = replace(quant, scale=scale)
            return made
    raise AssertionError(f"no such scale near {quant.scale}")


def test_a_weight_code_of_minus_128_is_refused():
    def change(codes: np.ndarray) -> None:
        codes[3, 4:6] = -128, 0

    message = refusal(prepared("vit"), with_codes(change))
    assert message.startswith(f"{LAYER} cannot be proved exact: int8 weight code magnitude can reach 128")


def test_minus_127_beside_1_is_the_last_that_is_proved():
    def change(codes: np.ndarray) -> None:
        codes[3, 4:6] = -127, 1

    made = with_codes(change)
    emit(prepared("vit"), made, input_type="float32", producer="1")
    assert made.proof


def test_a_pair_that_can_saturate_is_refused():
    def change(codes: np.ndarray) -> None:
        codes[3, 4:6] = -127, 2

    message = refusal(prepared("vit"), with_codes(change))
    assert message.startswith(f"{LAYER} cannot be proved exact: int16 pair sum")


def test_an_accumulator_that_overflows_is_refused():
    made = recipe("vit")
    bias = made.weights[LAYER].bias.copy()
    bias[2] = -1e9
    made.weights[LAYER] = replace(made.weights[LAYER], bias=bias)
    message = refusal(prepared("vit"), made)
    assert message.startswith(f"{LAYER} cannot be proved exact: int32 accumulator can reach")
    assert "the limit is 2.147e+09" in message


def test_a_residual_beyond_2_to_the_24_is_clipped():
    onnx, residual = OnnxBuilder(), Floats(tensor="x", exponent=0, bound=2.0**24 - 2, flat=False)
    snapped = snap(onnx, Proof(), residual, "add", 16)
    assert (snapped.bound, onnx.producer(snapped.tensor)) == (2**24 - 1, "Round")
    cut = snap(onnx, Proof(), replace(residual, bound=1.8e7), "add", 16)  # the sum of squares alone would be exact
    assert (cut.bound, onnx.producer(cut.tensor)) == (2**20, "Clip")


def test_what_a_group_norm_over_many_positions_reads_is_clipped_to_fewer_steps():
    cut = snap(OnnxBuilder(), Proof(), Floats(tensor="x", exponent=0, bound=2.0**21, flat=False), "rows", 2**18)
    assert cut.bound == 2**17  # 2^18 squares of that are 2^52
    assert cut.bound**2 * 2**18 <= 2**53


@pytest.mark.parametrize(("finer", "clipped"), [(0, False), (6, True), (9, True)])
def test_a_residual_whose_squares_could_be_inexact_is_clipped(tmp_path: Path, finer: int, clipped: bool):
    made = recipe("vit")
    made.exponents = {name: exponent + finer for name, exponent in made.exponents.items()}
    model = emit(prepared("vit"), made, input_type="float32", producer="1")
    assert any(node.name.endswith(".clipped") for node in model.graph.node) == clipped
    squares = [claim for claim in made.proof if claim.what == "float64 sum of squares"]
    assert len(squares) == 5
    assert all(claim.value <= 2**53 for claim in squares)
    onnx.save(model, tmp_path / "m.onnx")
    extreme = [images("vit", 1).numpy() * gain for gain in (1, 1e4, -1e4)]
    assert verify_model(tmp_path / "m.onnx", extreme, threads=1).passed


def test_an_exp_scale_without_margin_is_refused():
    def unsafe(scale: float) -> bool:
        steps = np.exp(-np.arange(256) * scale) * 255
        return bool(np.abs(steps - np.floor(steps) - 0.5).min() < MARGIN / 2)

    message = refusal(prepared("vit"), with_scale("blocks.0.attn.softmax.input", unsafe))
    assert message.startswith("blocks.0.attn.softmax cannot be proved exact: Exp margin in steps is ")


def test_a_scale_of_attention_codes_without_margin_is_refused():
    exact = np.exp(-np.arange(256) * recipe("vit").activations["blocks.0.attn.softmax.input"].scale)

    def unsafe(scale: float) -> bool:
        inside = exact[exact / scale < 254.5] / scale
        return bool(np.abs(inside - np.floor(inside) - 0.5).min() < MARGIN / 2)

    message = refusal(prepared("vit"), with_scale("blocks.0.attn.context.a", unsafe))
    assert message.startswith("blocks.0.attn.softmax cannot be proved exact: Exp margin in steps is ")


@pytest.mark.parametrize(
    ("change", "what"),
    [({"scale": 4.0}, "attention code of a row's maximum is 0"), ({"zero_point": 1}, "zero point of attention codes")],
)
def test_attention_codes_that_could_sum_to_nothing_are_refused(change: dict[str, float], what: str):
    made = recipe("vit")
    key = "blocks.0.attn.context.a"
    made.activations[key] = replace(made.activations[key], **change)  # type: ignore[arg-type]
    assert refusal(prepared("vit"), made).startswith(f"blocks.0.attn.softmax cannot be proved exact: {what}")


def test_a_region_boundary_without_margin_is_refused():
    graph, made = quantized("vit", (4, 4))
    key, source = "blocks.0.mlp.fc2.input", made.activations["blocks.0.mlp.act.gelu.input"]
    quant = made.activations[key]
    assert len(quant.regions) > 1
    top = activation_results(source, "gelu")
    last, unit = quant.regions[-1], 1 << quant.regions[-1].shift
    boundary = last.last - quant.zero_point - unit / 2  # between the two highest levels
    value = top[np.abs(top / quant.scale - boundary).argmin()]
    made.activations[key] = replace(quant, scale=float(np.float32(value / boundary)))
    message = refusal(graph, made)
    assert message.startswith("blocks.0.mlp.act.gelu cannot be proved exact: gelu margin in steps is ")


def test_an_exp_scale_with_a_long_mantissa_is_refused():
    def long_but_safe(scale: float) -> bool:
        steps = np.exp(-np.arange(256) * scale) * 255
        numerator, _ = scale.as_integer_ratio()
        return numerator > 2**22 and bool(np.abs(steps - np.floor(steps) - 0.5).min() > 1.5 * MARGIN)

    message = refusal(prepared("vit"), with_scale("blocks.0.attn.softmax.input", long_but_safe))
    assert message.startswith("blocks.0.attn.softmax cannot be proved exact: score codes times mantissa")


def test_a_gelu_scale_without_margin_is_refused():
    key, source = "blocks.0.mlp.fc2.input", recipe("vit").activations["blocks.0.mlp.act.gelu.input"]
    target = recipe("vit").activations[key]
    x = torch.tensor([(code - source.zero_point) * np.float32(source.scale) for code in range(256)]).double()
    y = torch.nn.functional.gelu(x).numpy()

    def unsafe(scale: float) -> bool:
        steps = y / scale + target.zero_point
        inside = steps[(steps > 0) & (steps < 255)]
        return bool(np.abs(inside - np.floor(inside) - 0.5).min() < MARGIN / 2)

    message = refusal(prepared("vit"), with_scale(key, unsafe))
    assert message.startswith("blocks.0.mlp.act.gelu cannot be proved exact: gelu margin in steps is ")


def test_a_gelu_step_that_is_finer_than_a_runtimes_error_is_refused():
    key = "blocks.0.mlp.fc2.input"
    made = recipe("vit")
    source = made.activations["blocks.0.mlp.act.gelu.input"]
    results = Results.of_codes(source, "gelu")
    coarse = made.activations[key]
    tried = (replace(coarse, scale=float(np.float32(scale))) for scale in np.geomspace(1e-7, coarse.scale, 20_000))
    made.activations[key] = next(q for q in tried if results.margin(q) >= MARGIN and results.exposure(q) > 1)
    message = refusal(prepared("vit"), made)
    assert message.startswith(
        "blocks.0.mlp.act.gelu cannot be proved exact: assumed error of gelu over the distance to a boundary can reach "
    )


def test_a_form_that_has_no_integer_kernel_is_refused_by_name():
    nodes = [
        Node(Input(), "input", (), Shape((1, 4, 8))),
        Node(ToPixels((1.0,), (0.0,)), "act", ("input",), Shape((1, 4, 8))),
    ]
    made = Recipe({"act.input": ActivationQuant(0.1, 128)}, {}, {}, {})
    assert refusal(Graph(nodes, "act"), made).startswith("act: a to_pixels is read where float values are needed")
    nodes.append(Node(Activation("gelu"), "gelu", ("act",), Shape((1, 4, 8))))
    made = Recipe({key: ActivationQuant(0.1, 128) for key in ("gelu.input", "gelu.output")}, {}, {}, {})
    assert refusal(Graph(nodes, "gelu"), made).startswith("act: a to_pixels is read where codes are needed")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [8, 4])
def test_the_proof_covers_every_layer_and_holds(emitted: Emitted, kind: str, bits: int):
    claims, graph = emitted(kind, bits)[1].proof, prepared(kind)
    for claim in claims:
        margin = "margin" in claim.what or "row's maximum" in claim.what
        assert claim.value >= claim.limit if margin else claim.value <= claim.limit
        assert claim.layer in graph.nodes
        assert [quantity.relation for quantity in Quantity if quantity.is_of(claim)] == [claim.relation]
    proved = {(claim.layer, claim.what) for claim in claims}
    wanted = {
        Linear: ("int32 accumulator", "int8 weight code magnitude", "int16 pair sum of u8 x s8 kernels"),
        PatchEmbed: ("int32 accumulator", "int8 weight code magnitude", "int16 pair sum of u8 x s8 kernels"),
        Matmul: ("int32 accumulator",),
        Softmax: (
            "Exp margin in steps",
            "assumed error of Exp over the distance to a boundary",
            "score codes times mantissa",
            "float32 sum of attention codes",
        ),
        Activation: ("gelu margin in steps", "assumed error of gelu over the distance to a boundary"),
        LayerNorm: ("float64 sum of squares",),
    }
    for node in graph:
        assert proved >= {(node.name, what) for what in wanted.get(type(node.op), ())}, node.name


def test_a_claim_at_its_limit_holds_and_nan_never_does():
    proof = Proof()
    at_most, at_least = Quantity.RESIDUAL, Quantity.ATTENTION_PEAK
    proof.claim("layer", at_most, 5.0, 5.0, advice="do this")
    proof.claim("layer", at_least, 5.0, 5.0, advice="do this")
    assert [(claim.value, claim.limit, claim.relation) for claim in proof.claims] == [
        (5.0, 5.0, "at most"),
        (5.0, 5.0, "at least"),
    ]
    for quantity, wrong in ((at_most, 5.1), (at_least, 4.9), (at_most, float("nan")), (at_least, float("nan"))):
        with pytest.raises(MptqError, match=rf"^layer cannot be proved exact: {quantity.text} .*; do this$"):
            proof.claim("layer", quantity, wrong, 5.0, advice="do this")
    assert len(proof.claims) == 2

"""Codes of several regions are those of the definition, and integer kernels alone make them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto
from tiny_models import images, quantized

from kernels_ref import Interpreter
from mptq_export.emit.builder import OnnxBuilder, value_info
from mptq_export.emit.exact import quantizer
from mptq_export.emit.exact.emitter import emit
from mptq_export.quantize.activations.opt_m import layouts
from mptq_export.quantize.certification.certify import certify_attention
from mptq_export.quantize.simulation.fake_quantize import codes
from mptq_export.recipe.schema import ActivationQuant, Recipe, Region
from mptq_export.runtime.session import open_session
from mptq_export.support.errors import MptqError
from mptq_export.verify.compare import verify_model
from mptq_export.verify.kernels.plan import read_kernel_plan

SCALE = float(np.float32(0.0713))
#: zero point, lowest code, regions
LAYOUTS: dict[str, tuple[int, int, tuple[Region, ...]]] = {
    "two": (0, 0, (Region(0, 8), Region(4, 120))),
    "two with a lobe": (3, 0, (Region(0, 11), Region(3, 43))),
    "a coarse lobe": (12, 0, (Region(2, 12), Region(0, 20))),
    "three": (0, 0, (Region(0, 4), Region(2, 12), Region(5, 12 + 32))),
    "three with a coarse lobe": (8, 0, (Region(2, 8), Region(0, 16), Region(3, 72))),
    "three with a lobe": (5, 0, (Region(0, 9), Region(2, 21), Region(4, 101))),
    "coarse below and above": (64, 0, (Region(5, 32), Region(0, 96), Region(5, 224))),
    "one coarse region": (0, 0, (Region(3, 120),)),
    "up to 255": (0, 0, (Region(0, 127), Region(1, 255))),
    "from code 7": (10, 7, (Region(0, 14), Region(2, 34))),
}
LAYOUTS["four"] = (0, 0, (Region(0, 2), Region(1, 6), Region(2, 14), Region(3, 30)))


def quant_of(zero_point: int, low: int, regions: tuple[Region, ...]) -> ActivationQuant:
    return ActivationQuant(SCALE, zero_point, low, regions[-1].last, 4, "", regions)


def quantizing(quant: ActivationQuant, path: Path, span: quantizer.Span = quantizer.EVERYTHING) -> Path:
    """A file whose `logits` are the codes of its input."""
    builder = OnnxBuilder()
    result = quantizer.quantize(builder, "input", quant.scale, quant, "codes", span=span)
    builder.rename_output(result, "logits")
    outputs = [value_info("logits", TensorProto.UINT8, [-1])]
    onnx.save(builder.model([value_info("input", TensorProto.FLOAT, [-1])], outputs, "1"), path)
    return path


def inputs() -> NDArray[np.float32]:
    """Every boundary of every region, its neighbours, and what lies far outside."""
    halves = (np.arange(-700, 700) / 2).astype(np.float32) * np.float32(SCALE)
    near = [np.nextafter(halves, np.float32(side)) for side in (-np.inf, np.inf)]
    noise = np.random.default_rng(0).normal(0, 40 * SCALE, 20_000).astype(np.float32)
    return np.concatenate([halves, *near, noise, np.array([-1e30, 1e30, 0.0, -0.0], np.float32)])


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_codes_are_those_of_the_definition(tmp_path: Path, name: str):
    quant, x = quant_of(*LAYOUTS[name]), inputs()
    path = quantizing(quant, tmp_path / "m.onnx")
    expected = codes(torch.from_numpy(x), quant).numpy()
    assert len(np.unique(expected)) > len(quant.regions)
    assert np.array_equal(open_session(path).run(None, {"input": x})[0], expected)
    assert np.array_equal(Interpreter(path).run({"input": x}, trace=False)["logits"], expected)


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("ends", [(-1.4, 1.4), (-1.4, -0.4), (0.4, 1.4), (0.4, 0.4), (-0.4, -0.4)])
def test_ends_that_no_value_passes_need_no_clip(tmp_path: Path, name: str, ends: tuple[float, float]):
    quant = quant_of(*LAYOUTS[name])
    units = [1 << region.shift for region in (quant.regions[0], quant.regions[-1])]
    span = quant.low - quant.zero_point - ends[0] * units[0], quant.high - quant.zero_point + ends[1] * units[1]
    x = np.concatenate([inputs(), np.array(span, np.float32) * np.float32(SCALE)])
    x = x[(x >= span[0] * np.float32(SCALE)) & (x <= span[1] * np.float32(SCALE))]
    path, always = quantizing(quant, tmp_path / "m.onnx", span), quantizing(quant, tmp_path / "always.onnx")
    assert np.array_equal(open_session(path).run(None, {"input": x})[0], codes(torch.from_numpy(x), quant).numpy())
    count, before = (sum(node.op_type == "Clip" for node in onnx.load(p).graph.node) for p in (path, always))
    assert count <= before
    if len(quant.regions) == 1 and ends == (0.4, 0.4):
        assert count == 0


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_every_layout_that_is_searched_is_emitted_exactly(tmp_path: Path, bits: int):
    x, found = inputs(), layouts(2**bits - 1)
    for zero, regions in found[:: max(1, len(found) // 40)]:
        quant = quant_of(zero, 0, regions)
        path = quantizing(quant, tmp_path / "m.onnx")
        assert np.array_equal(open_session(path).run(None, {"input": x})[0], codes(torch.from_numpy(x), quant).numpy())


@pytest.mark.parametrize("name", LAYOUTS)
def test_regions_add_up_in_integer_kernels(tmp_path: Path, name: str):
    quant = quant_of(*LAYOUTS[name])
    plan = read_kernel_plan(quantizing(quant, tmp_path / "m.onnx"))
    count = len(quant.regions)
    if count > 1:
        assert plan.op_counts == {"QuantizeLinear": count, "Clip": count, "QLinearAdd": count - 1}


@pytest.mark.parametrize("shift", range(6))
@pytest.mark.parametrize("zeros", [(0, 0, 0), (7, 3, 0), (0, 100, 0), (5, 1, 5)])
def test_an_addition_of_any_two_codes_is_exact(tmp_path: Path, shift: int, zeros: tuple[int, int, int]):
    builder, names = OnnxBuilder(), ("input", "other")
    shifts = (0, shift)
    floats = [builder.dequantize(n, 2.0**m, z, f"{n}.f") for n, m, z in zip(names, shifts, zeros, strict=False)]
    result = builder.quantize(builder.one("Add", floats, "sum"), 1.0, zeros[2], "codes")
    builder.rename_output(result, "logits")
    sources = [value_info(n, TensorProto.UINT8, [-1]) for n in names]
    path = tmp_path / "m.onnx"
    onnx.save(builder.model(sources, [value_info("logits", TensorProto.UINT8, [-1])], "1"), path)
    a, b = (part.ravel().astype(np.uint8) for part in np.meshgrid(np.arange(256), np.arange(256)))
    exact = (a.astype(np.int64) - zeros[0]) + ((b.astype(np.int64) - zeros[1]) << shift) + zeros[2]
    assert read_kernel_plan(path).op_counts == {"QLinearAdd": 1}
    got = open_session(path).run(None, {"input": a, "other": b})[0]
    assert np.array_equal(got, np.clip(exact, 0, 255))


def with_regions(made: Recipe, key: str, zero_point: int, regions: tuple[Region, ...]) -> None:
    """Give a site regions that cover about the range that it had."""
    old = made.activations[key]
    last = regions[-1].last
    scale = float(np.float32(old.scale * (old.high - old.low) / last))
    made.activations[key] = replace(old, scale=scale, zero_point=zero_point, low=0, high=last, regions=regions)


SYMMETRIC = (40, (Region(3, 24), Region(0, 56), Region(3, 80)))
SITES = {
    "after a layer norm": ("blocks.0.attn.qkv.input", "blocks.1.mlp.fc1.input"),
    "after attention": ("blocks.0.attn.proj.input",),
    "q, k and v": tuple(f"blocks.0.attn.{s}" for s in ("scores.a", "scores.b", "context.b")),
    "q alone": ("blocks.0.attn.scores.a",),
    "v alone": ("blocks.0.attn.context.b",),
}


@pytest.mark.parametrize("where", SITES)
def test_any_site_can_have_regions(tmp_path: Path, where: str):
    graph, made = quantized("vit", (4, 4))
    for key in SITES[where]:
        with_regions(made, key, *SYMMETRIC)
    path = tmp_path / "m.onnx"
    onnx.save(emit(graph, made, input_type="float32", producer="1"), path)
    report = verify_model(path, [images("vit", 3, 9).numpy()], threads=1)
    assert report.differing == 0
    assert report.plan.floating == ()


def test_attention_weights_can_have_regions(tmp_path: Path):
    graph, made = quantized("vit", (4, 4))
    key, score = "blocks.0.attn.context.a", made.activations["blocks.0.attn.softmax.input"]
    with_regions(made, key, 0, (Region(0, 8), Region(2, 36)))
    made.activations[key] = certify_attention(key, made.activations[key], score.scale, 255)
    path = tmp_path / "m.onnx"
    onnx.save(emit(graph, made, input_type="float32", producer="1"), path)
    assert verify_model(path, [images("vit", 3, 9).numpy()], threads=1).differing == 0


@pytest.mark.parametrize(
    "change",
    [
        {"regions": (Region(0, 4), Region(2, 13))},  # not a whole number of steps
        {"regions": (Region(0, 4), Region(2, 4))},  # empty
        {"regions": (Region(0, 4), Region(2, 12)), "high": 16},  # ends below the range
        {"zero_point": 300},
        {"low": -1},
        {"scale": 0.0},
        {"scale": float("nan")},
    ],
)
def test_levels_that_do_not_fit_are_refused_by_layer(change: dict[str, object]):
    graph, made = quantized("vit", (4, 4))
    key = "blocks.0.mlp.fc1.input"
    quant = ActivationQuant(0.1, 0, 0, 12, 4, "", (Region(0, 4), Region(2, 12)))
    regions = change.get("regions", quant.regions)
    high = regions[-1].last if isinstance(regions, tuple) else quant.high
    made.activations[key] = replace(quant, **{"high": high, **change})  # type: ignore[arg-type]
    with pytest.raises(MptqError, match=r"^blocks\.0\.mlp\.fc1: the quantizer of .* has no valid levels"):
        emit(graph, made, input_type="float32", producer="1")


def test_codes_beyond_8_bits_are_refused_by_layer():
    graph, made = quantized("vit", (4, 4))
    key = "blocks.0.mlp.fc1.input"
    made.activations[key] = replace(made.activations[key], high=256)
    with pytest.raises(
        MptqError, match=r"^blocks\.0\.mlp\.fc1 cannot be proved exact: activation code of .* reach 256"
    ):
        emit(graph, made, input_type="float32", producer="1")

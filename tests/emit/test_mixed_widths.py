"""Every layer at its own width: one integer Gemm for q, k and v, and no difference at any mixture."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from tiny_models import KINDS, images, prepared, quantized

from kernels_ref import Interpreter
from mptq_export.capture.graph import Graph
from mptq_export.capture.ops import Linear, PatchEmbed
from mptq_export.emit.exact.emitter import emit
from mptq_export.quantize.form import WidthsOf
from mptq_export.quantize.simulation.fake_quantize import codes
from mptq_export.quantize.weights.quantize_weight import dequantize
from mptq_export.recipe.schema import ActivationQuant, Recipe
from mptq_export.verify.compare import verify_model


def random_widths(kind: str, seed: int) -> WidthsOf:
    """Weights and activations of 2 to 8 bits by the name of a layer."""
    generator = np.random.default_rng(seed)
    chosen = {node.name: tuple(generator.integers(2, 9, 2).tolist()) for node in prepared(kind)}
    return lambda layer: chosen[layer]  # type: ignore[return-value]


def saved(graph: Graph, made: Recipe, path: Path) -> Path:
    onnx.save(emit(graph, made, input_type="float32", producer="1"), path)
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [(2, 2), (3, 5), (8, 3), 1, 2, 3])
def test_runtime_and_reference_agree_at_any_mixture(tmp_path: Path, kind: str, bits: tuple[int, int] | int):
    widths = random_widths(kind, bits) if isinstance(bits, int) else bits
    graph, made = quantized(kind, widths)
    path = saved(graph, made, tmp_path / "m.onnx")
    report = verify_model(path, [images(kind, 2, 9).numpy()], threads=1)
    assert report.differing == 0
    assert report.plan.floating == ()
    weighted = sum(isinstance(node.op, Linear | PatchEmbed) for node in graph)
    assert report.plan.op_counts["QGemm"] == weighted


def attention_widths(queries: int, values: int) -> WidthsOf:
    """q and k of one width, v and the attention weights of another, in every block of a `vit`."""
    found = {"scores": (8, queries), "context": (8, values)}
    return lambda layer: found.get(layer.rsplit(".", 1)[-1], (8, 8))


def heads(value: torch.Tensor, part: int) -> torch.Tensor:
    """q (0), k (1) or v (2) of a fused output, float32 [B, 17, 96], in the layout that its matmul reads."""
    split = value.unflatten(-1, (3, 2, 16)).permute(2, 0, 3, 1, 4)[part]
    return split.transpose(-1, -2) if part == 1 else split


@pytest.mark.parametrize("widths", [(4, 8), (8, 4), (3, 6), (2, 3), (7, 2)])
def test_readers_of_one_gemm_have_their_own_widths(tmp_path: Path, widths: tuple[int, int]):
    graph, made = quantized("vit", attention_widths(*widths))
    path = saved(graph, made, tmp_path / "m.onnx")
    report = verify_model(path, [images("vit", 3, 9).numpy()], threads=1)
    assert report.differing == 0
    assert report.plan.floating == ()
    tensors = Interpreter(path).run({"input": images("vit", 8, 9).numpy()}, trace=True)
    name = "blocks.0.attn"
    quant, weight = made.activations[f"{name}.qkv.input"], made.weights[f"{name}.qkv"]
    x = (operand(path, tensors, f"{name}.qkv", 0) - quant.zero_point) * quant.scale
    matrix = dequantize(torch.from_numpy(weight.codes), torch.from_numpy(weight.scale))
    real = torch.nn.functional.linear(torch.from_numpy(x), matrix, torch.from_numpy(weight.bias)).reshape(8, 17, 96)
    read = (
        ("scores.a", "scores.product", 0),
        ("scores.b", "scores.product", 1),
        ("context.b", "context.unnormalised", 1),
    )
    for part, (key, matmul, position) in enumerate(read):
        site = made.activations[f"{name}.{key}"]
        expected = codes(heads(real, part), site).numpy()
        got = operand(path, tensors, f"{name}.{matmul}", position)
        assert got.max() <= site.high
        assert np.abs(got - expected).max() <= 1
        assert (got != expected).mean() < 0.01, key


def operand(path: Path, tensors: dict[str, NDArray[np.generic]], matmul: str, position: int) -> NDArray[np.float32]:
    """The codes that a named Gemm or MatMul reads."""
    made_by = {node.output[0]: node for node in onnx.load(path).graph.node}
    source = made_by[made_by[matmul].input[position]]
    assert source.op_type == "DequantizeLinear"
    return tensors[source.input[0]].astype(np.float32)


def test_equal_widths_share_one_clip(tmp_path: Path):
    clips = {}
    for widths in ((4, 4), (4, 5)):
        graph, made = quantized("vit", attention_widths(*widths))
        nodes = onnx.load(saved(graph, made, tmp_path / "m.onnx")).graph.node
        clips[widths] = [n.name for n in nodes if n.op_type == "Clip" and "blocks.0.attn" in n.name]
    assert sum("qkv.codes" in name for name in clips[4, 4]) == 1
    assert len(clips[4, 5]) == len(clips[4, 4]) + 2


def test_readers_of_the_same_channels_with_two_scales_stay_integer(tmp_path: Path):
    graph, made = quantized("vit", (8, 8))
    key = graph["blocks.0.attn.k_transposed.heads"]
    graph = graph.updated({key.name: replace(key, op=replace(key.op, start=0, end=2))})  # k is q
    made.activations["blocks.0.attn.scores.b"] = ActivationQuant(0.3, 8, 0, 15, 4)
    report = verify_model(saved(graph, made, tmp_path / "m.onnx"), [images("vit", 2, 9).numpy()], threads=1)
    assert report.differing == 0
    assert report.plan.floating == ()

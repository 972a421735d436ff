"""Doc strings in the file: every quantised layer says what was decided for it and why, and nothing else changes."""

from dataclasses import replace

import onnx
import pytest
from tiny_models import KINDS, quantized

from mptq_export.emit.exact.emitter import emit
from mptq_export.quantize.method import PAPER
from mptq_export.recipe.onnx_contents import contents_of
from mptq_export.recipe.schema import Recipe

from .conftest import Emitted


def texts(model: onnx.ModelProto) -> dict[str, tuple[str, str]]:
    """Op and doc string of every node that has one, by the layer that it names first."""
    found = {}
    for node in model.graph.node:
        if node.doc_string:
            layer = node.doc_string.partition(":")[0]
            assert layer not in found
            found[layer] = (node.op_type, node.doc_string)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_every_quantised_layer_has_its_text(emitted: Emitted, kind: str):
    path, made = emitted(kind, 4)
    found = texts(onnx.load(path))
    layers = {key.rpartition(".")[0] for key in made.activations}
    assert layers | made.sq_b.keys() == found.keys()
    for layer, weight in made.weights.items():
        op, text = found[layer]
        assert op == "Gemm"
        assert f"weights: {weight.bits} bits" in text
        assert weight.reason in text
    for key, quant in made.activations.items():
        layer, _, operand = key.rpartition(".")
        assert f"\n{operand}: {quant.bits} bits, " in found[layer][1]
        assert quant.reason in found[layer][1]


def test_what_was_decided_stands_there(emitted: Emitted):
    path, made = emitted("vit", 4)
    found = texts(onnx.load(path))
    _, text = found["blocks.0.attn.qkv"]
    norm = made.sq_b["blocks.0.norm1"]
    state = f"SQ-b, strength {norm.strength:g}" if norm.strength else "no SQ-b"
    assert text.startswith(
        "blocks.0.attn.qkv: 4/4 bits (weights/activations)\nweights: 4 bits, narrow, 96 x 32, levels "
    )
    levels = made.weights["blocks.0.attn.qkv"].regions.levels
    assert f", levels {' '.join(map(str, levels))}; " in text
    assert text.endswith(f"reads blocks.0.norm1: {state}")
    assert found["blocks.0.norm1"] == ("Div", f"blocks.0.norm1: {state}; {norm.reason}")
    products = [op for layer, (op, _) in found.items() if layer not in made.weights and layer not in made.sq_b]
    assert sorted(products) == sorted(2 * ["MatMul", "MatMul", "Exp", "Gelu"])  # two blocks


def test_regions_of_opt_m_are_told():
    graph, made = quantized("vit", (4, 4), PAPER)
    model = emit(graph, made, input_type="float32", producer="1")
    told = [text for _, text in texts(model).values() if " of step " in text]
    assert len(told) == sum(bool(quant.regions) for quant in made.activations.values()) > 0


def with_reason(made: Recipe, layer: str, reason: str) -> Recipe:
    return replace(made, weights={**made.weights, layer: replace(made.weights[layer], reason=reason)})


def test_the_texts_are_part_of_what_the_recipe_proves():
    graph, made = quantized("vit", (4, 4))
    models = [
        emit(graph, one, input_type="float32", producer="1")
        for one in (made, made, with_reason(made, "head", "another"))
    ]
    same, again, other = map(contents_of, models)
    assert models[0].SerializeToString(deterministic=True) == models[1].SerializeToString(deterministic=True)
    assert same == again
    assert [name for name in same if same[name] != other[name]] == ["node logits"]


def test_a_strangers_reason_cannot_break_the_file():
    graph, made = quantized("vit", (4, 4))
    model = emit(graph, with_reason(made, "head", "\ud800"), input_type="float32", producer="1")
    onnx.ModelProto.FromString(model.SerializeToString())

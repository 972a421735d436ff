"""The quantized model in torch."""

import pytest
import torch
from tiny_models import KINDS, calibrated_graph, images, prepared, quantized

from mptq_export.capture.evaluate import evaluate
from mptq_export.quantize.method import BEST, MINMAX, PAPER
from mptq_export.quantize.simulation.simulate import Simulator
from mptq_export.quantize.walk.walk import Walk

ALL = {"minmax": MINMAX, "paper": PAPER, "best": BEST}


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("kind", KINDS)
def test_at_8_bits_it_is_close_to_float(kind: str, method: str):
    graph, recipe = quantized(kind, (8, 8), ALL[method])
    x = images(kind, 6, seed=5)
    with torch.no_grad():
        expected = evaluate(prepared(kind), x)
        found = Simulator.of(graph, recipe).logits(graph, x)
    assert found.shape == expected.shape
    assert (found - expected).square().mean() < 0.03 * expected.var()


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("kind", ["vit", "swin"])
def test_it_gives_what_the_walk_saw(kind: str, method: str):
    calibrated = calibrated_graph(kind).with_importance(ALL[method])
    walk = Walk(calibrated, lambda _layer: (8, 8), ALL[method])
    graph, recipe = walk.build_recipe()
    with torch.no_grad():
        found = Simulator.of(graph, recipe).logits(graph, calibrated.images)
    assert torch.equal(found, walk.state.values.quantized[graph.output])


def test_an_image_does_not_depend_on_its_batch():
    graph, recipe = quantized("vit", (4, 4), BEST)
    simulator, x = Simulator.of(graph, recipe), images("vit", 5, seed=7)
    with torch.no_grad():
        together = simulator.logits(graph, x)
        alone = torch.cat([simulator.logits(graph, x[i : i + 1]) for i in range(5)])
    assert torch.equal(together, alone)


def test_a_softmax_stays_unnormalised_until_its_codes_are_summed():
    graph, recipe = quantized("vit", (8, 4), MINMAX)
    simulator = Simulator.of(graph, recipe)
    values: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        evaluate(graph, images("vit", 2), lambda n, v: values.update({n.name: v}), simulator.compute)
    softmax = values["blocks.0.attn.softmax"]
    assert torch.equal(softmax.amax(-1), torch.ones_like(softmax.amax(-1)))
    quant = recipe.activations["blocks.0.attn.context.b"]
    v = (quant.high - quant.zero_point) * quant.scale
    assert values["blocks.0.attn.context"].abs().max() <= v * (1 + 2 / quant.high)  # a weighted mean of v

"""Learned rounding on the digits model: what it keeps, and that it never makes a block worse on held-back images."""

import numpy as np
import torch

from mptq_export.capture.blocks import split_blocks
from mptq_export.capture.evaluate import compute, evaluate
from mptq_export.capture.ops import Linear
from mptq_export.quantize.method import MINMAX
from mptq_export.quantize.simulation.simulate import Simulator
from mptq_export.quantize.weights.reconstruct import reconstruct

from .helpers import digits


def test_blocks_in_a_row_are_the_model():
    data = digits()
    value = data.val[:4]
    with torch.no_grad():
        for block in split_blocks(data.graph):
            value = block.run(value, compute)
        assert torch.equal(value, evaluate(data.graph, data.val[:4]))
    names = [node.name for block in split_blocks(data.graph) for node in block.nodes if isinstance(node.op, Linear)]
    assert names == [node.name for node in data.graph if isinstance(node.op, Linear)]


def test_learning_helps_and_keeps_the_code_range():
    data = digits()
    graph, recipe = data.build((3, 8), MINMAX)
    learned = reconstruct(graph, recipe, data.calib, steps=60)
    changed = [name for name in recipe.weights if "learned" in learned.weights[name].reason]
    assert any(not np.array_equal(recipe.weights[n].codes, learned.weights[n].codes) for n in changed)
    for name in changed:
        before, after = recipe.weights[name], learned.weights[name]
        assert after.codes.min() >= -4
        assert after.codes.max() <= 3
        np.testing.assert_array_equal(before.scale, after.scale)
    with torch.no_grad():
        exact = evaluate(data.graph, data.val)
        errors = [
            float((Simulator.of(graph, r).logits(graph, data.val) - exact).square().mean()) for r in (recipe, learned)
        ]
    assert errors[1] < 0.9 * errors[0]


def test_eight_bit_weights_stand():
    data = digits()
    graph, recipe = data.build((8, 8), MINMAX)
    learned = reconstruct(graph, recipe, data.calib, steps=2)
    assert all(learned.weights[name] is quant for name, quant in recipe.weights.items())


def test_one_image_is_too_few_to_hold_any_back():
    data = digits()
    graph, recipe = data.build((3, 8), MINMAX)
    learned = reconstruct(graph, recipe, data.calib[:1], steps=2)
    assert all(learned.weights[name] is quant for name, quant in recipe.weights.items())

"""Ops and activation functions are closed sets: every table that must know all of them does."""

from typing import get_args

import numpy as np
import pytest
import torch

from mptq_export.calibrate import sites
from mptq_export.capture import evaluate, follow_images
from mptq_export.capture.activations import FUNCTIONS
from mptq_export.capture.function_names import Function
from mptq_export.capture.graph import Node, Shape
from mptq_export.capture.ops import Input, LayerNorm, Linear, Op, PatchEmbed, Slice, label
from mptq_export.emit import functions
from mptq_export.quantize.certification.assumption import Certified, assumed
from mptq_export.quantize.simulation import simulate

COMPUTED = set(get_args(Op)) - {Input}
NAMES = get_args(Function)


def test_every_op_has_a_float_meaning():
    assert set(evaluate._COMPUTE) == COMPUTED


def test_the_images_of_every_op_are_followed_in_one_way():
    placed = set(get_args(follow_images._Placed))
    assert placed.isdisjoint(follow_images._COMPUTED)
    assert placed | set(follow_images._COMPUTED) == COMPUTED


def test_every_op_is_simulated():
    assert set(simulate._VALUES) == COMPUTED


def test_of_every_op_it_is_said_which_operands_become_codes():
    assert set(sites._OPERANDS) == set(get_args(Op))
    assert {op for op, operands in sites._OPERANDS.items() if operands} == set(get_args(sites._ReadsCodes))


def test_every_function_is_known_in_onnx_and_in_the_assumption():
    assert set(FUNCTIONS) == set(functions._ONNX) == set(NAMES)
    for name in {name for part in get_args(Certified) for name in get_args(part)}:
        assert assumed(name).of_result >= 0


@pytest.mark.parametrize("name", NAMES)
def test_both_meanings_of_a_function_are_the_same(name: Function):
    x = np.linspace(-12, 12, 4001)
    function = FUNCTIONS[name]
    assert np.abs(function.compute(torch.from_numpy(x)).numpy() - function.exact(x)).max() < 1e-14


def test_an_op_says_its_attributes_to_who_knows_it():
    node = Node(Slice(1, 0, 2), "cut", ("x",), Shape((1, 2, 8)))
    assert node.attributes(Slice).end == 2
    with pytest.raises(TypeError, match="cut is a slice, read as a Linear"):
        node.attributes(Linear)
    assert [label(op) for op in (LayerNorm(1e-6), PatchEmbed((2, 2)))] == ["layer_norm", "patch_embed"]

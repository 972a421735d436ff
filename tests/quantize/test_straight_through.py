"""Gradients of rounding: what LSQ says, at numbers that are easy to follow."""

import torch

from mptq_export.quantize.reconstruct.straight_through import fake_quantize, whole, whole_steps
from mptq_export.recipe.schema import ActivationQuant, Region

QUANT = ActivationQuant(0.5, 2, 0, 7, 3)


def test_values_and_gradients_inside_and_outside():
    x = torch.tensor([-9.0, -0.3, 0.6, 9.0], requires_grad=True)
    scale, zero = torch.tensor(0.5, requires_grad=True), torch.tensor(2.3, requires_grad=True)
    found = fake_quantize(x, scale, zero, QUANT)
    torch.testing.assert_close(found, torch.tensor([-1.0, -0.5, 0.5, 2.5]))
    found.backward(torch.tensor([1.0, 1.0, 2.0, 1.0]))
    torch.testing.assert_close(x.grad, torch.tensor([0.0, 1.0, 2.0, 0.0]))
    # q outside; q - v inside: -2, -1 + 0.6, 2 (1 - 1.2), 5
    torch.testing.assert_close(scale.grad, torch.tensor(-2 - 0.4 - 0.4 + 5))
    torch.testing.assert_close(zero.grad, torch.tensor(-0.5 * 2))


def test_regions_round_to_their_levels():
    quant = ActivationQuant(1.0, 0, 0, 12, 3, regions=(Region(0, 4), Region(2, 12)))
    x = torch.tensor([1.4, 5.9, 6.1, 30.0], requires_grad=True)
    found = fake_quantize(x, torch.tensor(1.0), torch.tensor(0.0), quant)
    torch.testing.assert_close(found, torch.tensor([1.0, 4.0, 8.0, 12.0]))
    found.sum().backward()
    torch.testing.assert_close(x.grad, torch.tensor([1.0, 1.0, 1.0, 0.0]))


def test_steps_of_a_quantizer_that_stands():
    x = torch.tensor([-9.0, 0.6], requires_grad=True)
    found = whole_steps(x, QUANT)
    torch.testing.assert_close(found, torch.tensor([-2.0, 1.0]))
    found.sum().backward()
    torch.testing.assert_close(x.grad, torch.tensor([0.0, 2.0]))


def test_whole_numbers_pass_gradients():
    x = torch.tensor([0.4, 1.5, 2.5], requires_grad=True)
    whole(x).backward(torch.tensor([1.0, 2.0, 3.0]))
    torch.testing.assert_close(whole(x.detach()), torch.tensor([0.0, 2.0, 2.0]))
    torch.testing.assert_close(x.grad, torch.tensor([1.0, 2.0, 3.0]))

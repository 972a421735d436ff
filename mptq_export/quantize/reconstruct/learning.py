"""How long and how fast a block learns."""

from dataclasses import dataclass

import torch

#: One image of so many is held back, and one of fewer.
HELD_BACK = 8

#: Fewer images than these are too few to learn from: what is learned is of these images more than of the model.
FEW = 32


@dataclass(frozen=True)
class Learning:
    """Steps of Adam, which fall to 0 along a cosine.

    Rates are per step: a number that always moves the same way moves by half the product of rate and steps in all.

    Attributes:
        steps: a block.
        batch: images a step.
        float_share: share of the elements of a block's input that are the float model's, drawn anew in every step
            (QDrop, arXiv 2203.05740).
        rank_one: whether the loss has its second term (`loss.py`).
        code_rate: of latent weights, in codes.
        scale_rate: of the scales of weights, as a share.
        bias_rate: of biases, in standard deviations of the block's target.
        site_rate: of the scales of activations, as a share.
        zero_rate: of zero points, in codes.
        gain_rate: of the gains of layer norms, as a share.
        offset_rate: of their offsets, in codes of what reads them.
    """

    steps: int = 150
    batch: int = 8
    float_share: float = 0.5
    rank_one: bool = True
    code_rate: float = 5e-3
    scale_rate: float = 2e-4
    bias_rate: float = 1e-4
    site_rate: float = 5e-4
    zero_rate: float = 1e-3
    gain_rate: float = 3e-3
    offset_rate: float = 1e-3


def held_back(images: int) -> torch.Tensor:
    """Which images judge what was learned from the others: bool [images].

    The recipe that learning starts from should not have seen them either: what rounding was fitted to them is better on
    them than on any other images, and would never be improved upon.
    """
    every = min(HELD_BACK, max(images, 2))
    return torch.arange(images) % every == every - 1

"""How long and how fast a block learns."""

from dataclasses import dataclass

import torch

from mptq_export.quantize.reconstruct.length import BATCH, STEPS

#: One image of so many judges, mirrored and moved.
_JUDGING = 4

#: By so many pixels, down and to the right: less than a patch, so that patches hold other parts of a picture.
_MOVED = (5, 3)

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
        rank_one: whether the loss has its second term (`loss.py`); no checkpoint has shown that it helps.
        code_rate: of latent weights, in codes.
        scale_rate: of the scales of weights, as a share.
        bias_rate: of biases, in standard deviations of the block's target.
        site_rate: of the scales of activations, as a share.
        zero_rate: of zero points, in codes.
        gain_rate: of the gains of layer norms, as a share.
        offset_rate: of their offsets, in codes of what reads them.
    """

    steps: int = STEPS
    batch: int = BATCH
    float_share: float = 0.5
    rank_one: bool = False
    code_rate: float = 5e-3
    scale_rate: float = 2e-4
    bias_rate: float = 1e-4
    site_rate: float = 5e-4
    zero_rate: float = 1e-3
    gain_rate: float = 3e-3
    offset_rate: float = 1e-3


def unseen(images: torch.Tensor) -> torch.Tensor:
    """Pictures that nothing was fitted to: images, mirrored and moved.

    Images themselves would judge in favour of the recipe that learning starts from: its rounding was fitted to them, so
    its error on them is smaller than on any others, and learning would seem to help less than it does.

    Args:
        images: float32 [B, C, H, W].
    """
    return images.flip(-1).roll(_MOVED, (-2, -1))


def judging_images(images: torch.Tensor) -> torch.Tensor:
    """Those that judge a block: a quarter as many."""
    return unseen(images[::_JUDGING])

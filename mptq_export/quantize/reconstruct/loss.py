"""What an error of a block's output costs: a weight an element, and a direction in which errors add up.

With d the error of an image, its loss is `1/2 sum_i H_ii d_i^2 + 1/2 (u . d)^2`. From the gradients g of the divergence
of the model's outputs with respect to the block's output, at the quantized block's output, which differs from the float
one by d (LS-ViT, CVPR 2026; sums over images):

    H_ii = sum g_i d_i / sum d_i^2        u = sum s g sqrt(d . g) / sum d . g

because `g = H d` near the float model, where the gradient is 0; s is the sign of g along what most gradients share.
"""

from dataclasses import dataclass

import torch

#: Share of their mean that all weights get alike: gradients of few images are noisy.
_EQUAL = 0.5

#: No weight is more times the mean than this.
_MOST = 10.0

#: Sums of squares below it are none.
_SMALLEST = 1e-12


@dataclass(frozen=True)
class BlockLoss:
    """The quadratic form of a block.

    Attributes:
        diagonal: H_ii, float32 [1, ...] as the block's output of one image.
        direction: u, the same; None for no second term.
    """

    diagonal: torch.Tensor
    direction: torch.Tensor | None = None

    def __call__(self, found: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Mean over images of what a block gives and what it should give, [images, ...]: a scalar."""
        error = found - target
        loss = (self.diagonal * error.square()).sum()
        if self.direction is not None:
            loss = loss + (self.direction * error).flatten(1).sum(1).square().sum()
        return loss / (2 * len(error))

    @staticmethod
    def squared_error(like: torch.Tensor) -> "BlockLoss":
        """Every element counts alike: where outputs have no gradients."""
        return BlockLoss(torch.ones_like(like[:1]))

    @staticmethod
    def closed_form(gradients: torch.Tensor, error: torch.Tensor, *, rank_one: bool) -> "BlockLoss":
        """The form of the head of this file, made robust.

        A ratio of sums over few images may be anything, below zero too. So it is taken of every row and of every
        channel, over all else, and their product is the weight: 0 or more, at most `_MOST` times the mean, and half of
        it for all alike.

        Args:
            gradients: g, float32 [images, ..., channels].
            error: d, the same.
            rank_one: whether there is a second term.
        """
        product, square, last = gradients * error, error.square(), error.dim() - 1

        def ratio(axes: tuple[int, ...]) -> torch.Tensor:
            summed = product.sum(axes, keepdim=True) / square.sum(axes, keepdim=True).clamp_min(_SMALLEST)
            return summed.clamp_min(0)

        whole = ratio(tuple(range(last + 1)))
        if float(whole) <= 0:
            return BlockLoss.squared_error(error)
        rows, channels = ratio((0, last)), ratio(tuple(range(last)))
        shape = rows * channels / whole
        shape = (shape / shape.mean()).clamp_max(_MOST)
        diagonal = whole * (_EQUAL + (1 - _EQUAL) * shape)
        return BlockLoss(diagonal, _direction(gradients, product) if rank_one else None)


def _direction(gradients: torch.Tensor, product: torch.Tensor) -> torch.Tensor:
    along = product.flatten(1).sum(1).clamp_min(0)  # d . g of an image; below 0 it tells nothing of a direction
    flat = gradients.flatten(1).double()
    # Errors to either side of the float model give gradients that point either way: alike along what they share.
    shared: torch.Tensor = torch.linalg.eigh(flat @ flat.T).eigenvectors[:, -1]
    sided = shared.sign().to(along) * along.sqrt()
    weighted = gradients * sided.reshape(-1, *(1,) * (gradients.dim() - 1))
    return weighted.sum(0, keepdim=True) / along.sum().clamp_min(_SMALLEST)

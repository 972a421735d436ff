"""ViT-MAE sees whole pictures here: its encoder leaves out a random part of every picture, in evaluation too."""

from typing import Any

from torch import Tensor, nn


def keep_every_patch(model: nn.Module) -> bool:
    """Let an encoder of masked autoencoders see all patches in their order, as it is used after its pretraining.

    The library does the same with ``mask_ratio`` 0 and an increasing ``noise``: nothing is left out and nothing moved.

    Args:
        model: of any class; one that masks nothing is left as it is.

    Returns:
        Whether it masked.
    """
    embeddings: Any = getattr(model, "embeddings", None)
    if not hasattr(embeddings, "random_masking"):
        return False

    def all_patches(sequence: Tensor, noise: Tensor | None = None) -> tuple[Tensor, None, None]:
        return sequence, None, None

    embeddings.random_masking = all_patches
    return True

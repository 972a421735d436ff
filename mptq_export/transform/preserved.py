"""The check that a transform kept the function: layer by layer as it is folded, and once for the outputs."""

import torch

from mptq_export.support.errors import MptqError

#: Largest change that a transform may cause, as a share of the largest float value.
TOLERANCE = 1e-5


def assert_same(transform: str, found: torch.Tensor, expected: torch.Tensor) -> None:
    """Stop where a transform changed what a layer gives.

    Args:
        transform: what was folded, for the message.
        found: float64, what the layer gives now.
        expected: float64, what it gave before, same shape.

    Raises:
        MptqError: they differ by more than `TOLERANCE` (a defect of this package).
    """
    assert_small(transform, float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-6)))


def assert_small(transform: str, change: float) -> None:
    """The same for a change that was measured: a share of the largest float value."""
    if not change <= TOLERANCE:
        raise MptqError(
            f"{transform} changed the float output by {change:.1e} of its maximum; please report this model"
        )

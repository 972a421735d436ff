"""Per-channel symmetric weight codes that no integer kernel can saturate.

AVX2 without VNNI adds two u8 x s8 products in int16. 255 * (|w[2i]| + |w[2i+1]|) <= 32767 holds for 7-bit codes and for
8-bit codes whose neighbours along K sum to at most 128; the second has up to twice the resolution.
"""

import numpy as np
from numpy.typing import NDArray

from mptq_export.recipe.schema import WeightQuant

#: Largest |w[2i]| + |w[2i+1]| for activations of 8 bits.
PAIR_LIMIT = 128


def quantize_weight(weight: NDArray[np.float32], bits: int) -> WeightQuant:
    """Round a weight matrix to codes.

    Args:
        weight: float32 [N, K].
        bits: 2 to 8.

    Returns:
        Codes and scales; a channel of zeros gets scale 1.
    """
    if bits == 8:
        return _pair_safe(weight)
    high = 2 ** (bits - 1) - 1
    scale = _positive(np.abs(weight).max(1) / high)
    codes = np.clip(np.rint(weight / scale[:, None]), -high - 1, high).astype(np.int8)
    return WeightQuant(codes, scale, bits, "narrow", "per-channel min/max")


def _pair_safe(weight: NDArray[np.float32]) -> WeightQuant:
    pairs = pair_sums(weight)
    scale = _positive(np.maximum(pairs.max(1) / PAIR_LIMIT, np.abs(weight).max(1) / 127))
    codes = np.clip(np.rint(weight / scale[:, None]), -127, 127)
    # Rounding can lift a pair one above the limit: take that one off the larger of the two.
    padded = np.pad(codes, ((0, 0), (0, codes.shape[1] % 2))).reshape(len(codes), -1, 2)
    excess = np.abs(padded).sum(2) > PAIR_LIMIT
    larger = np.abs(padded[..., 1]) > np.abs(padded[..., 0])
    for column, chosen in ((0, ~larger), (1, larger)):
        fix = excess & chosen
        padded[..., column] = np.where(fix, padded[..., column] - np.sign(padded[..., column]), padded[..., column])
    codes = padded.reshape(len(codes), -1)[:, : weight.shape[1]].astype(np.int8)
    return WeightQuant(codes, scale, 8, "pair_safe", "per-channel min/max over neighbouring pairs")


def pair_sums(weight: NDArray[np.generic]) -> NDArray[np.float64]:
    """`|w[2i]| + |w[2i+1]|` along K: [N, ceil(K / 2)]."""
    magnitude = np.abs(weight.astype(np.float64))
    padded: NDArray[np.float64] = np.pad(magnitude, ((0, 0), (0, weight.shape[1] % 2)))
    return np.asarray(padded.reshape(len(weight), -1, 2).sum(2))


def _positive(scale: NDArray[np.floating]) -> NDArray[np.float32]:
    """Scales as float32; channels that are all zero (or too small for float32) get 1."""
    result = scale.astype(np.float32)
    return np.where(result > np.finfo(np.float32).tiny * 2**24, result, np.float32(1))

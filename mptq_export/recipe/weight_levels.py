"""Weight codes with regions, taken apart: which core level each has, and what an outlier adds to it."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mptq_export.recipe.schema import WeightQuant, WeightRegions

#: Largest code where there are regions: two of them, whichever are neighbours, sum to the 128 of pair-safe codes.
LARGEST = 64

#: What outliers may add, in their steps: whole numbers of 4 bits. One that adds 0 fills a gap between two others.
PAYLOADS = range(-8, 8)

#: Steps of outliers are smaller than `2 ** _SHIFTS`.
_SHIFTS = 7


def check_regions(quant: WeightQuant) -> None:
    """Refuse levels that no weight has, and codes that are none of them.

    Raises:
        ValueError: the message says what is wrong.
    """
    if quant.regions is None:
        return
    levels, shift = quant.regions.levels, quant.regions.shift
    rising = all(low < high for low, high in pairwise(levels))
    if len(levels) != 2**quant.bits or not rising or max(map(abs, levels)) > LARGEST:
        raise ValueError(f"{list(levels)!r:.80} are not the levels of {quant.bits} bits")
    if shift not in range(_SHIFTS):
        raise ValueError(f"outliers cannot have a shift of {shift}")
    split_codes(quant.codes, quant.regions)


def split_codes(codes: NDArray[np.int8], regions: WeightRegions) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
    """Codes with regions as what is stored of them.

    Of the ways to write an outlier the one with the smallest payload is taken.

    Args:
        codes: int8, any shape.
        regions: of the layer.

    Returns:
        Number of the core level of every code, uint8, and what is added to it in steps of outliers, int8: 0 where the
        code is a core level.

    Raises:
        ValueError: a code is neither a core level nor an outlier.
    """
    ways = np.full((2, 256), -1, np.int64)
    for payload in sorted(PAYLOADS if regions.shift else (0,), key=abs, reverse=True):
        for number, level in enumerate(regions.levels):
            code = level + (payload << regions.shift)
            if abs(code) <= LARGEST:
                ways[:, code + 128] = number, payload
    number, payload = ways[:, codes.astype(np.int64) + 128]
    if (number < 0).any():
        raise ValueError("a code is neither a core level nor an outlier")
    return number.astype(np.uint8), payload.astype(np.int8)


def outliers(quant: WeightQuant) -> NDArray[np.bool_]:
    """Which codes are not core levels: [N, K]; none where there are no regions."""
    if quant.regions is None:
        return np.zeros(quant.codes.shape, np.bool_)
    return ~np.isin(quant.codes, quant.regions.levels)


def reachable(regions: WeightRegions) -> list[int]:
    """All codes that rounding may give: core levels, and outliers on either side of them; from the lowest."""
    levels, shift = regions.levels, regions.shift
    found = {level + (payload << shift) for level in levels for payload in (PAYLOADS if shift else (0,))}
    beyond = {code for code in found if abs(code) <= LARGEST and not levels[0] <= code <= levels[-1]}
    return sorted(beyond.union(levels))

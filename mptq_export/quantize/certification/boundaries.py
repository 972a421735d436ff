"""How far a value lies from where it would be rounded to another code."""

import numpy as np
from numpy.typing import NDArray

#: Smallest distance to a rounding boundary, in steps.
MARGIN = 1e-3


def boundary_distances(steps: NDArray[np.float64], low: int, high: int) -> NDArray[np.float64]:
    """Distances of code values to the nearest rounding boundary between two codes in [low, high]."""
    return np.abs(steps - np.clip(np.floor(steps) + 0.5, low + 0.5, high - 0.5))

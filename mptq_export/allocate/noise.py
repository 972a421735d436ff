"""How sure a mean over images is."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def standard_error(images: Sequence[float] | NDArray[np.float64]) -> float:
    """Of the mean of a number an image; 0 where there is one for all."""
    return float(np.std(images) / np.sqrt(max(len(images) - 1, 1)))

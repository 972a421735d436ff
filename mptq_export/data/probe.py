"""A few inputs to compare two forms of a model on, for any number of channels."""

import numpy as np
from numpy.typing import NDArray

from mptq_export.data.preprocessing import Preprocessing
from mptq_export.data.synthetic import dead_leaves


def probe_inputs(preprocessing: Preprocessing, count: int) -> NDArray[np.float32]:
    """Synthetic images, normalised; channels beyond the third are those of further images.

    Args:
        preprocessing: the model's.
        count: how many.

    Returns:
        (count, channels, height, width).
    """
    channels, height, width = preprocessing.input_size
    drawn = dead_leaves(count * -(-channels // 3), max(height, width))
    side = drawn.shape[1]
    joined = drawn.reshape(count, -1, side, side, 3).transpose(0, 2, 3, 1, 4).reshape(count, side, side, -1)
    return preprocessing.normalize(joined[:, :height, :width, :channels])

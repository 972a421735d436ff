"""The float checkpoint as a function from pixels to logits."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mptq_export.data.preprocessing import Preprocessing
from mptq_export.evaluate.run import Predict


def float_predictor(model: torch.nn.Module, preprocessing: Preprocessing) -> Predict:
    """The model in evaluation mode, on the device that it lies on.

    Args:
        model: a classifier that takes (images, 3, height, width) float32.
        preprocessing: how pixels become that.
    """
    model.eval()
    device = next(model.parameters()).device

    def predict(pixels: NDArray[np.uint8]) -> NDArray[np.floating[Any]]:
        with torch.inference_mode():
            logits: NDArray[np.floating[Any]] = model(torch.from_numpy(preprocessing.normalize(pixels)).to(device))
        return logits.float().cpu().numpy()

    return predict

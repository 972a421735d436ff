"""The float checkpoint as a function from pixels to its outputs: what of an evaluation needs torch."""

import torch

from mptq_export.evaluate.maps import Maps, PredictMaps
from mptq_export.evaluate.metrics import Logits
from mptq_export.evaluate.run import Predict
from mptq_export.load.forward import tensors
from mptq_export.runtime.pixels import Normalize, Pixels


def float_predictor(model: torch.nn.Module, normalize: Normalize, place: int = 0) -> Predict:
    """The model in evaluation mode, on the device that it lies on.

    Args:
        model: a classifier that takes (images, 3, height, width) float32.
        normalize: how pixels become that.
        place: which of its outputs are the logits.
    """
    model.eval()
    device = next(model.parameters()).device

    def predict(pixels: Pixels) -> Logits:
        with torch.inference_mode():
            scores = tensors(model(torch.from_numpy(normalize(pixels)).to(device)))[place]
        logits: Logits = scores.float().cpu().numpy()
        return logits

    return predict


def float_maps(model: torch.nn.Module, normalize: Normalize) -> PredictMaps:
    """A float model as a function from pixels to all that it gives."""

    def predict(pixels: Pixels) -> Maps:
        with torch.inference_mode():
            return [value.float().numpy() for value in tensors(model(torch.from_numpy(normalize(pixels))))]

    return predict

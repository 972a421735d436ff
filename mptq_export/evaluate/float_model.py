"""The float checkpoint as a function from pixels to its outputs: what of an evaluation needs torch."""

import torch

from mptq_export.evaluate.beside import FloatModel
from mptq_export.evaluate.logits import Predict
from mptq_export.evaluate.metrics import Logits
from mptq_export.evaluate.outputs import PredictOutputs, Values
from mptq_export.load.forward import tensors
from mptq_export.load.loaders import load_asked
from mptq_export.load.request import ModelRequest
from mptq_export.runtime.pixels import Normalize, Pixels


def load_float(asked: ModelRequest) -> FloatModel:
    """Load a checkpoint to evaluate it.

    Raises:
        MptqError: it cannot be loaded, or lacks what is asked for.
    """
    loaded = load_asked(asked)
    return FloatModel(float_outputs(loaded.model, loaded.preprocessing.normalize), loaded.outputs, loaded.warnings)


def float_outputs(model: torch.nn.Module, normalize: Normalize) -> PredictOutputs:
    """A float model as a function from pixels to all that it gives.

    Args:
        model: takes (images, channels, height, width) float32, on the device that it lies on; set to evaluation mode.
        normalize: how pixels become that.
    """
    model.eval()
    device = next(model.parameters()).device

    def predict(pixels: Pixels) -> Values:
        with torch.inference_mode():
            found = tensors(model(torch.from_numpy(normalize(pixels)).to(device)))
        return [value.float().cpu().numpy() for value in found]

    return predict


def float_predictor(model: torch.nn.Module, normalize: Normalize) -> Predict:
    """The same of a classifier: its logits alone."""
    outputs = float_outputs(model, normalize)

    def predict(pixels: Pixels) -> Logits:
        return outputs(pixels)[0]

    return predict

"""The float checkpoint as a function from pixels to its outputs: what of an evaluation needs torch."""

import hashlib
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from mptq_export.evaluate.beside import FloatHead, FloatModel
from mptq_export.evaluate.logits import Predict
from mptq_export.evaluate.metrics import Logits
from mptq_export.evaluate.outputs import PredictOutputs, Values
from mptq_export.load.forward import tensors
from mptq_export.load.loaded import LoadedModel
from mptq_export.load.loaders import load_asked
from mptq_export.load.request import ModelRequest
from mptq_export.runtime.pixels import Normalize, Pixels


def load_float(asked: ModelRequest) -> FloatModel:
    """Load a checkpoint to evaluate it.

    Raises:
        MptqError: it cannot be loaded, or lacks what is asked for.
    """
    loaded = load_asked(asked)
    return FloatModel(
        float_outputs(loaded.model, loaded.preprocessing.normalize),
        loaded.outputs,
        loaded.warnings,
        loaded.detector,
        tuple(_head(head) for head in loaded.heads),
        _digest(loaded.model, *(head.model for head in loaded.heads)),
    )


def _head(loaded: LoadedModel) -> FloatHead:
    """A network of a detector's second stage, which takes regions."""
    assert loaded.detector is not None
    names = [each.name for each in loaded.outputs]
    loaded.model.eval()

    def run(x: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        with torch.inference_mode():
            found = tensors(loaded.model(torch.from_numpy(x)))
        return {name: value.float().cpu().numpy() for name, value in zip(names, found, strict=True)}

    return FloatHead(loaded.detector.part, run)


def _digest(*models: torch.nn.Module) -> str:
    """SHA-256 of all parameters and buffers."""
    digest = hashlib.sha256()
    for model in models:
        for name, value in model.state_dict().items():
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


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

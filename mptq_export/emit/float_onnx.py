"""The float companion: torch's own exporter, simplified, checked against torch before anything is quantized."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from mptq_export.runtime.session import open_session
from mptq_export.support.errors import MptqError
from mptq_export.support.files import write_atomic

#: Largest difference of an output, relative to its largest value, that float32 reordering explains.
TOLERANCE = 1e-3

#: The first opset with layer norms and all else that torch's older exporter writes.
_TRACED_OPSET = 18


def write_float_onnx(
    model: torch.nn.Module, images: NDArray[np.float32], path: Path, outputs: Sequence[str] = ("logits",)
) -> None:
    """Write the float model and compare onnxruntime with torch.

    Args:
        model: eval-mode float32 model.
        images: float32 NCHW calibration images for the comparison.
        path: the file to write; input `input`, dynamic batch.
        outputs: names of what the model gives: of its one tensor, or of all in its tuple.

    Raises:
        MptqError: the model cannot be exported or simplified, or the float file already differs from torch.
    """
    import onnxsim  # noqa: PLC0415 - it takes seconds, and few ask for the float file

    batch = torch.export.Dim("batch", min=1, max=4096)
    try:
        with torch.no_grad():
            program = torch.onnx.export(
                model,
                (torch.from_numpy(np.concatenate([images, images])[:2]),),
                input_names=["input"],
                output_names=list(outputs),
                dynamic_shapes=({0: batch},),
                dynamo=True,
                verbose=False,
            )
        assert program is not None
        simplified, valid = onnxsim.simplify(program.model_proto)
    except Exception as error:
        raise MptqError(f"the float model cannot be written to {path}: {_reason(error)}") from error
    if not valid:
        raise MptqError(f"the float model was not written to {path}: simplification changed its outputs")

    def write(temporary: Path) -> None:
        onnx.save(simplified, temporary)
        _compare(model, images, temporary)

    write_atomic(path, write)


def write_for_timing(model: torch.nn.Module, image: NDArray[np.float32], path: Path) -> None:
    """Write the float model for one image, neither simplified nor compared: onnxruntime simplifies what it loads.

    The trace of torch's older exporter comes first: it takes half a second where the newer one takes five.

    Args:
        model: eval-mode float32 model.
        image: float32 (1, channels, height, width).
        path: the file to write.

    Raises:
        MptqError: torch cannot export the model; the message says why, in the middle of a sentence.
    """
    inputs = (torch.from_numpy(image),)
    with torch.no_grad(), suppress(Exception):
        torch.onnx.export(model, inputs, path, dynamo=False, opset_version=_TRACED_OPSET)
        return
    try:
        with torch.no_grad():
            torch.onnx.export(model, inputs, path, dynamo=True, verbose=False)
    except Exception as error:  # whatever torch raises, the quantized file stands
        raise MptqError(f"torch.onnx refuses it ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _compare(model: torch.nn.Module, images: NDArray[np.float32], path: Path) -> None:
    session = open_session(path)
    with torch.no_grad():
        expected = model(torch.from_numpy(images))
    tensors = [expected] if isinstance(expected, torch.Tensor) else expected
    for got, tensor in zip(session.run(None, {"input": images}), tensors, strict=True):
        wanted = tensor.numpy()
        error = np.abs(got - wanted).max() / max(np.abs(wanted).max(), 1e-6)
        if not error <= TOLERANCE:
            raise MptqError(
                f"the float baseline is broken: onnxruntime and torch differ by {error:.1e} of the largest output"
            )

"""What a request asks for and its model or its inputs cannot give, refused before the long work."""

from mptq_export.calibrate.run import Calibrated
from mptq_export.export.request import ExportRequest
from mptq_export.load.loaded import LoadedModel
from mptq_export.quantize.method import METHODS
from mptq_export.support.errors import MptqError
from mptq_export.support.limits import check_file, check_memory


def check_companion(request: ExportRequest, loaded: LoadedModel) -> None:
    """Refuse a float companion that ONNX cannot hold.

    Raises:
        MptqError: one is asked for, and it would be larger than an ONNX file can be.
    """
    if request.float_onnx is not None:
        check_file(str(request.float_onnx), loaded.parameters, 32, "leave --float-onnx out")


def check_weights(request: ExportRequest, loaded: LoadedModel, fewest: int) -> None:
    """Refuse a model whose quantized weights ONNX cannot hold.

    Args:
        request: what to export.
        loaded: the model.
        fewest: bits that weights will have at least, where no pin says otherwise.

    Raises:
        MptqError: the file would be larger than an ONNX file can be.
    """
    pinned = [weights for weights, _ in request.pins.values()]
    bits = 8 if request.weight_storage == "int8" else min([fewest, *pinned])
    check_file(str(request.out), loaded.parameters, bits, "use fewer bits for the weights")


def check_calibrated(request: ExportRequest, calibrated: Calibrated) -> None:
    """Refuse what the calibration inputs do not give.

    Raises:
        MptqError: the file's input shall be pixels and the calibration inputs are none, or memory is too small to
            quantize with so many.
    """
    if request.input_type == "uint8" and not calibrated.pixel_inputs:
        preprocessing = calibrated.loaded.preprocessing
        raise MptqError(
            f"{calibrated.calib}: the calibration inputs are not 8-bit pixels normalised with mean "
            f"{preprocessing.mean} and std {preprocessing.std}; --input uint8 needs such inputs"
        )
    if calibrated.images.device.type == "cpu":
        # The walk holds float32 values, and beside them the float64 ones of the float model where a method asks for it.
        size = 12 if METHODS[request.method].measures_inputs else 4
        needed = size * len(calibrated.images) * calibrated.values_at_once
        check_memory(f"quantizing with {len(calibrated.images)} images", needed, "use fewer images (--count)")

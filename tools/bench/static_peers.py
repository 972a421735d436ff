"""The same float model through onnxruntime's own quantizer, as its documentation advises."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from tools.bench.peer import Peer, onnx_peer

#: Types of (activations, weights).
VARIANTS = {
    "u8s8": (QuantType.QUInt8, QuantType.QInt8),
    "u8u8": (QuantType.QUInt8, QuantType.QUInt8),
    "s8s8": (QuantType.QInt8, QuantType.QInt8),
}


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Calibration inputs, one image at a time."""

    def __init__(self, inputs: Iterable[np.ndarray]) -> None:
        self._inputs: Iterator[np.ndarray] = iter(inputs)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next feed; None at the end."""
        batch = next(self._inputs, None)
        return None if batch is None else {"input": batch}


def static_peers(floating: Path, inputs: list[np.ndarray], folder: Path) -> list[Peer]:
    """Quantize a float file in every variant: QDQ, weights per channel, min/max ranges.

    Args:
        floating: the float ONNX file; its input is named `input`.
        inputs: calibration inputs, (1, 3, height, width) each.
        folder: where the files go.
    """
    prepared = _prepared(floating, folder / "float.prepared.onnx")
    peers = []
    for name, (activation, weight) in VARIANTS.items():
        path = folder / f"static.{name}.onnx"
        quantize_static(
            prepared,
            path,
            _Reader(inputs),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=activation,
            weight_type=weight,
        )
        peers.append(onnx_peer(f"ORT static {name}", path))
    return peers


def quantized_statically(floating: Path, path: Path, inputs: list[np.ndarray], ops: tuple[str, ...] | None) -> None:
    """Quantize a float file to u8 activations and s8 weights per channel.

    Args:
        floating: the float ONNX file; its input is named `input`.
        path: the file to write.
        inputs: calibration inputs, (1, 3, height, width) each.
        ops: the ops that are quantized; None for all that onnxruntime can.
    """
    prepared = _prepared(floating, path.with_suffix(".prepared"))
    try:
        quantize_static(
            prepared,
            path,
            _Reader(inputs),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=None if ops is None else list(ops),
        )
    finally:
        prepared.unlink()


def _prepared(floating: Path, path: Path) -> Path:
    """The float file with shapes and fusions, as the quantizer wants it."""
    try:
        quant_pre_process(floating, path)
    except IndexError:  # symbolic shapes before onnxruntime 1.32; without them the same nodes get quantizers
        quant_pre_process(floating, path, skip_symbolic_shape=True)
    return path

"""The same float model in OpenVINO, in float and in int8 by NNCF: another runtime, for orientation."""

from pathlib import Path

import numpy as np

from tools.bench import nncf_int8
from tools.bench.peer import Peer, Predict


def openvino_peers(floating: Path, inputs: list[np.ndarray], folder: Path) -> list[Peer]:
    """Convert and quantize a float ONNX file.

    Args:
        floating: the float ONNX file.
        inputs: calibration inputs, (1, 3, height, width) each.
        folder: where the files go.

    Raises:
        ModuleNotFoundError: openvino or nncf is not installed.
    """
    quantized = nncf_int8.quantized(str(floating), np.concatenate(inputs))

    import openvino

    model = openvino.Core().read_model(floating)
    peers = []
    for name, found in (("float", model), ("int8", quantized)):
        path = folder / f"openvino.{name}.xml"
        openvino.save_model(found, path, compress_to_fp16=False)
        peers.append(openvino_peer(path))
    return peers


def openvino_peer(path: Path) -> Peer:
    """A model that `openvino_peers` wrote, `openvino.NAME.xml` with its weights beside it."""
    name = path.name.split(".")[1]
    files = (path, path.with_suffix(".bin"))
    return Peer(f"OpenVINO {name}", files, lambda threads, batch: _open(path, threads, batch), False)


def _open(path: Path, threads: int, batch: int) -> Predict:
    """Compiled for one batch size: OpenVINO is slower where it is free. Its floats stay float32, not bfloat16."""
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    model.reshape([batch, *(size.get_length() for size in list(model.input().partial_shape)[1:])])
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,
    }
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    return lambda images: request.infer([images])[0]

"""NNCF's own post-training int8 of a float ONNX file, as its documentation advises for transformers.

    PYTHON tools/bench/nncf_int8.py FLOAT.onnx INPUTS.npy OUT.xml

PYTHON is that of an environment with nncf and openvino; nothing else is imported. INPUTS are (images, 3, height, width)
float32 calibration inputs. Writes OUT.xml and OUT.bin.
"""

import logging
import sys
from contextlib import redirect_stdout
from typing import Any

import numpy as np


def quantized(floating: str, inputs: np.ndarray) -> Any:
    """The model in int8; shapes are fixed to a batch of one.

    Raises:
        ModuleNotFoundError: openvino or nncf is not installed.
    """
    import nncf
    import openvino

    logging.getLogger("nncf").setLevel(logging.ERROR)
    model = openvino.Core().read_model(floating)
    model.reshape([1, *inputs.shape[1:]])
    with redirect_stdout(sys.stderr):  # its progress bars
        return nncf.quantize(
            model,
            nncf.Dataset([image[None] for image in inputs]),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(inputs),
        )


if __name__ == "__main__":
    import openvino

    openvino.save_model(quantized(sys.argv[1], np.load(sys.argv[2])), sys.argv[3], compress_to_fp16=False)

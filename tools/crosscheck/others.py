"""Run a model in a runtime that promises nothing, and count the outputs that differ from golden ones.

    others.py openvino golden.npz MODEL.onnx    (pip install openvino numpy)
    others.py onnx golden.npz MODEL.onnx        (pip install onnx numpy: its ReferenceEvaluator)

One image at a time, one thread, default settings but for float32 instead of bfloat16. Prints one line of JSON.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tools.crosscheck.cpu import cpu_features

Run = Callable[[np.ndarray], np.ndarray]


def openvino(model: Path, shape: tuple[int, ...]) -> tuple[str, Run]:
    """OpenVINO's CPU plugin, compiled for one image."""
    import openvino

    core = openvino.Core()
    network = core.read_model(model)
    network.reshape([1, *shape[1:]])
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    request = core.compile_model(network, "CPU", settings).create_infer_request()
    return openvino.__version__, lambda x: np.array(request.infer([x])[0])


def onnx(model: Path, shape: tuple[int, ...]) -> tuple[str, Run]:
    """The evaluator of the onnx package: the specification's own arithmetic."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(str(model))
    return onnx.__version__, lambda x: np.asarray(evaluator.run(None, {evaluator.input_names[0]: x})[0])  # type: ignore[index]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    runtimes = {"openvino": openvino, "onnx": onnx}
    parser.add_argument("runtime", choices=list(runtimes))
    parser.add_argument("golden", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--limit", type=int, help="only the first N inputs")
    args = parser.parse_args()
    with np.load(args.golden) as golden:
        inputs, logits = golden["inputs"][: args.limit], golden["logits"][: args.limit]
    version, run = runtimes[args.runtime](args.model, inputs.shape)
    parts, times = [], []
    for i in range(len(inputs)):
        start = time.perf_counter()
        parts.append(run(inputs[i : i + 1]))
        times.append(time.perf_counter() - start)
    got = np.concatenate(parts)
    line = {
        "model": args.model.name,
        "runtime": f"{args.runtime} {version}",
        "cpu": cpu_features(),
        "values": int(logits.size),
        "differing": int(np.count_nonzero(got.view(np.uint32) != logits.view(np.uint32))),
        "largest_difference": float(np.abs(got - logits).max()),
        "largest_logit": float(np.abs(logits).max()),
        "same_top1": int((got.argmax(1) == logits.argmax(1)).sum()),
        "images": len(logits),
        "best_ms": min(times) * 1e3,
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()

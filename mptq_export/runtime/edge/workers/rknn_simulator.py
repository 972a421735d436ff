"""A file in the simulator of RKNN-Toolkit2: run by mptq-export, in the toolkit's own Python environment.

    python rknn_simulator.py MODEL.onnx PLATFORM LOG

Needs rknn-toolkit2 and NumPy, nothing of mptq-export. It answers in lines of JSON: one once the file is open, then one
for each line of standard input. All that the toolkit prints goes to LOG.

    {"run": IN.npz, "out": OUT.npz}    inputs and outputs by their order: arr_0, arr_1 ...
    {"export": OUT.rknn}               the file for a board
"""

import json
import os
import sys
import traceback
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import numpy as np


class RefusedError(Exception):
    """The toolkit says no, in its log alone."""


def answers_only() -> Any:
    """What this process was to print to, as a stream; descriptors 1 and 2 are the log from here on."""
    stream = os.fdopen(os.dup(1), "w")
    log = os.open(sys.argv[3], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    return stream


def done(status: int, what: str) -> None:
    """Check the status that every call of the toolkit returns."""
    if status != 0:
        raise RefusedError(f"{what} returned {status}")


def opened(model: str, platform: str) -> Any:
    """The toolkit with a file built and its simulator started."""
    from rknn.api import RKNN

    rknn = RKNN(verbose=True)
    done(rknn.config(target_platform=platform, optimization_level=2), "config")
    done(rknn.load_onnx(model), "load_onnx")
    done(rknn.build(do_quantization=False), "build")  # its codes are in the file already
    done(rknn.init_runtime(), "init_runtime")
    return rknn


def answer(rknn: Any, request: dict[str, str]) -> dict[str, str]:
    """Do what one line asks for."""
    if "export" in request:
        done(rknn.export_rknn(request["export"]), "export_rknn")
        return {}
    with np.load(request["run"]) as stored:
        inputs = [stored[name] for name in stored.files]
    # Without a word about the layout the toolkit takes four dimensions for NHWC.
    outputs = rknn.inference(inputs=inputs, data_format=["nchw"] * len(inputs))
    if outputs is None:
        raise RefusedError("inference gave nothing")
    np.savez(request["out"], *outputs)
    return {}


def why(error: BaseException) -> str:
    """The first cause of an exception: the toolkit wraps each in the text of its own traceback."""
    while error.__context__ is not None:
        error = error.__context__
    return f"{type(error).__name__}: {error}"


def replies(model: str, platform: str) -> Iterator[dict[str, str]]:
    """The answer to the start, and to each line."""
    rknn = opened(model, platform)
    yield {"version": version("rknn-toolkit2")}
    for line in sys.stdin:
        yield answer(rknn, json.loads(line))


def main() -> None:
    """Open, answer, and say why it ends where it does."""
    stream = answers_only()
    try:
        for reply in replies(*sys.argv[1:3]):
            print(json.dumps(reply), file=stream, flush=True)
    except Exception as error:
        traceback.print_exc()
        print(json.dumps({"error": why(error)}), file=stream, flush=True)
        sys.exit(1)


if __name__ == "__main__":
    main()

"""What onnxruntime's session options and its own file format do to the bits of a file.

    golden.py MODEL.onnx --images DIR -o golden.npz
    options.py golden.npz MODEL.onnx

Prints one line of JSON a setting. The last lines are the two files that `convert_onnx_models_to_ort` makes, and the
rounding modes of the calling thread (Linux only). Nothing here is an error: the promise is for default options.
"""

import argparse
import ctypes
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from tools.crosscheck.compare import differing
from tools.crosscheck.cpu import cpu_features

#: Documented options that touch kernels, numbers or fusions.
OPTIONS = (
    "session.x64quantprecision",
    "session.set_denormal_as_zero",
    "session.disable_quant_qdq",
    "session.enable_quant_qdq_cleanup",
    "session.disable_double_qdq_remover",
    "session.disable_prepacking",
)

#: fesetround of <fenv.h> on x86 and on arm64.
MODES = {"x86_64": {"up": 0x800, "down": 0x400, "to zero": 0xC00}}
MODES["aarch64"] = {"up": 0x400000, "down": 0x800000, "to zero": 0xC00000}


def logits(model: Path, inputs: np.ndarray, options: dict[str, str]) -> np.ndarray:
    """With one thread, so that the calling thread computes."""
    asked = ort.SessionOptions()
    asked.intra_op_num_threads, asked.log_severity_level = 1, 4
    for name, value in options.items():
        asked.add_session_config_entry(name, value)
    session = ort.InferenceSession(str(model), asked, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(["logits"], {name: one[None]})[0] for one in inputs])


def show(setting: str, model: Path, inputs: np.ndarray, golden: np.ndarray, options: dict[str, str]) -> None:
    """Print one line."""
    line: dict[str, Any] = {"setting": setting, "model": model.name, "onnxruntime": ort.__version__}
    try:
        got = logits(model, inputs, options)
    except Exception as error:  # noqa: BLE001 - the exceptions of onnxruntime have no common base
        line["error"] = str(error).strip().splitlines()[-1][-200:]
    else:
        line |= {"values": int(golden.size), "differing": differing(got, golden)}
        line |= {
            "largest": float(np.abs(got - golden).max()),
            "same_top1": int((got.argmax(1) == golden.argmax(1)).sum()),
        }
    print(json.dumps({**line, "cpu": cpu_features()}), flush=True)


def converted(model: Path, folder: Path) -> list[Path]:
    """The files that onnxruntime's own converter makes of a model."""
    command = [sys.executable, "-m", "onnxruntime.tools.convert_onnx_models_to_ort", str(model)]
    subprocess.run([*command, "--output_dir", str(folder)], check=True, capture_output=True)
    return sorted(folder.glob("*.ort"))


@contextmanager
def rounding(mode: int) -> Iterator[None]:
    """The calling thread rounds so."""
    library = ctypes.CDLL("libm.so.6")
    library.fesetround(mode)
    try:
        yield
    finally:
        library.fesetround(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("golden", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--limit", type=int, help="only the first N inputs")
    args = parser.parse_args()
    with np.load(args.golden) as golden:
        inputs, wanted = golden["inputs"][: args.limit], golden["logits"][: args.limit]
    show("default", args.model, inputs, wanted, {})
    for option in OPTIONS:
        show(option, args.model, inputs, wanted, {option: "1"})
    with tempfile.TemporaryDirectory() as folder:
        for path in converted(args.model, Path(folder)):
            show(path.name.removeprefix(args.model.stem), path, inputs, wanted, {})
    modes = MODES.get(platform.machine(), {}) if platform.system() == "Linux" else {}
    for name, mode in modes.items():
        with rounding(mode):
            got = logits(args.model, inputs, {})
        print(json.dumps({"setting": f"rounding {name}", "differing": differing(got, wanted)}), flush=True)


if __name__ == "__main__":
    main()

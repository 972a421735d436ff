"""Write golden inputs and logits of an exported model, for `compare.py` and `web/run.mjs` to meet elsewhere.

    golden.py MODEL.onnx --images DIR -o golden.npz [--raw DIR]
    golden.py MODEL.onnx --random 16 -o golden.npz

The logits are onnxruntime's, on this machine with its default options, and must equal `kernels_ref`'s bit by bit;
otherwise nothing is written and the exit status is 1. Besides `inputs` and `logits` the file holds `info`: a JSON text
that names the model, the onnxruntime version and the CPU. `--raw` also writes them as plain little-endian files.
"""

import argparse
import json
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from kernels_ref import Interpreter
from mptq_export.runtime.graph_input import GraphInput, graph_input
from mptq_export.runtime.session import open_session
from mptq_export.support.errors import MptqError
from mptq_export.verify.inputs.sets import random_inputs
from mptq_export.verify.onnx_file import load_onnx, metadata_of
from tools.crosscheck.compare import differing, run
from tools.crosscheck.cpu import cpu_features


def image_inputs(model: Path, spec: GraphInput, images: Path, limit: int) -> Iterator[NDArray[Any]]:
    """The images, one a batch, as the model's own metadata preprocesses them."""
    from mptq_export.data.images import ImageFolder
    from mptq_export.data.preprocessing import Preprocessing
    from mptq_export.runtime.pixels import to_graph_input

    preprocessing = Preprocessing.from_metadata(metadata_of(load_onnx(model)))
    folder = ImageFolder(images, preprocessing, limit=limit, labels=False)
    return (to_graph_input(pixels, spec, preprocessing.normalize) for pixels in folder.batches(1))


def write_raw(folder: Path, spec: GraphInput, inputs: NDArray[Any], logits: NDArray[np.float32]) -> None:
    """Write ``inputs.bin``, ``logits.bin`` (little-endian) and their types and shapes in ``golden.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    inputs.astype(inputs.dtype.newbyteorder("<")).tofile(folder / "inputs.bin")
    logits.astype("<f4").tofile(folder / "logits.bin")
    header = {
        "input": {"name": spec.name, "dtype": str(inputs.dtype), "shape": inputs.shape},
        "logits": {"shape": logits.shape},
    }
    (folder / "golden.json").write_text(json.dumps(header, indent=2) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--images", type=Path, metavar="DIR")
    source.add_argument("--random", type=int, metavar="N")
    parser.add_argument("--limit", type=int, default=16, metavar="N", help="at most N images (16)")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="NPZ")
    parser.add_argument("--raw", type=Path, metavar="DIR", help="also write raw files for web/run.mjs")
    args = parser.parse_args()

    spec = graph_input(open_session(args.model))
    if args.images:
        inputs = np.concatenate(list(image_inputs(args.model, spec, args.images, args.limit)))
    else:
        inputs = np.concatenate(list(random_inputs(spec, args.random, 1)))
    logits = run(args.model, inputs, threads=0, batch=1)
    reference = Interpreter(str(args.model))
    expected = np.concatenate([reference.run({spec.name: inputs[i : i + 1]})["logits"] for i in range(len(inputs))])
    wrong = differing(logits, expected)
    if wrong:
        print(f"error: {wrong} of {logits.size} logits differ from kernels_ref; run mptq-verify", file=sys.stderr)
        return 1
    info = {
        "model": args.model.name,
        "onnxruntime": ort.__version__,
        "machine": platform.machine(),
        "cpu": cpu_features(),
    }
    np.savez(args.out, inputs=inputs, logits=logits, info=np.array(json.dumps(info)))
    if args.raw:
        write_raw(args.raw, spec, inputs, logits)
    print(json.dumps({**info, "images": len(inputs), "logits": int(logits.size), "differing_from_kernels_ref": wrong}))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except MptqError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)

"""Logits of one model on a folder of labelled images, kept so that files can be compared image by image.

    python -m tools.bench.logits CHECKPOINT --data DIR --out FILE.npz [--onnx OUT.onnx] [--limit N]

Of the ONNX file in onnxruntime, or without --onnx of the float checkpoint, on the pixels that `mptq-eval` shows it.
FILE holds `logits`, float32 (images, classes), and `labels`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mptq_export.evaluate.float_model import float_predictor
from mptq_export.evaluate.logits import onnx_predictor, predictions
from mptq_export.load.loaders import load_model
from mptq_export.runtime.session import open_session
from tools.bench.labelled import labelled
from tools.options import Parser, existing, positive

_BATCH = 8


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser("bench.logits", __doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("--onnx", type=existing, metavar="FILE", help="Of this file instead.")
    parser.add_argument("--data", type=existing, required=True, help="Class folders.")
    parser.add_argument("--limit", type=positive, help="At most so many images.")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    return parser.run(run, arguments)


def run(*, checkpoint: str, onnx: Path | None, data: Path, limit: int | None, out: Path) -> None:
    loaded = load_model(checkpoint)
    normalize = loaded.preprocessing.normalize
    folder, labels = labelled(data, loaded, limit)
    if onnx is None:
        predict = float_predictor(loaded.model, normalize)
    else:
        predict = onnx_predictor(open_session(onnx), normalize)
    (logits,) = predictions(folder.batches(_BATCH), [predict])
    np.savez(out, logits=logits.astype(np.float32), labels=labels)


if __name__ == "__main__":
    sys.exit(main())

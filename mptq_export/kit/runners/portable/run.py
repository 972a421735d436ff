"""Is the model within the kit's tolerance in onnxruntime? Needs onnxruntime and NumPy, nothing else.

    python run.py [--provider NAME] [--threads N] [--runs N]

NAME is one of onnxruntime's own execution providers, such as XnnpackExecutionProvider or CoreMLExecutionProvider; what
it does not take, the CPU computes. Exit status: 0 within the tolerance; 1 beyond it; 2 the kit cannot be run.
"""

import sys

import numpy as np
import onnxruntime as ort
from check import FOLDER, CannotRunError, main, parser_of, read_manifest, run_kit


def described() -> bool:
    """Read the command line and run the kit."""
    parser = parser_of(__doc__)
    parser.add_argument("--provider", default="CPUExecutionProvider", help="execution provider (CPUExecutionProvider)")
    parser.add_argument("--threads", type=int, default=0, help="threads of onnxruntime; 0 is its own choice")
    args = parser.parse_args()
    available = ort.get_available_providers()
    if args.provider not in available:
        raise CannotRunError(f"onnxruntime has no {args.provider} here; it has {', '.join(available)}")
    manifest = read_manifest()
    options = ort.SessionOptions()
    options.intra_op_num_threads = args.threads
    providers = list(dict.fromkeys([args.provider, "CPUExecutionProvider"]))
    session = ort.InferenceSession((FOLDER / manifest["model"]).read_bytes(), options, providers=providers)
    names = [entry["name"] for entry in manifest["outputs"]]

    def run(x: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, {manifest["input"]["name"]: x}), strict=True))

    passed: bool = run_kit(run, manifest, f"onnxruntime {ort.__version__}, {args.provider}", args.runs)
    return passed


if __name__ == "__main__":
    sys.exit(main(described))

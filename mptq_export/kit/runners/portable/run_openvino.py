"""Is the model within the kit's tolerance in OpenVINO? Needs openvino and NumPy.

    pip install openvino
    python run_openvino.py [--device CPU] [--precision bf16|f16|f32] [--runs N]

Without --precision OpenVINO computes floats as the device likes best: in bfloat16 on CPUs that have it. Exit status: 0
within the tolerance; 1 beyond it; 2 the kit cannot be run.
"""

import sys

import numpy as np
import openvino as ov
from check import FOLDER, main, parser_of, read_manifest, run_kit


def described() -> bool:
    """Read the command line and run the kit."""
    parser = parser_of(__doc__)
    parser.add_argument("--device", default="CPU", help="CPU, GPU or NPU (CPU)")
    parser.add_argument("--precision", choices=["bf16", "f16", "f32"], help="precision of floats")
    args = parser.parse_args()
    manifest = read_manifest()
    core = ov.Core()
    model = core.read_model(str(FOLDER / manifest["model"]))
    model.reshape(manifest["input"]["shape"])
    wanted = {"INFERENCE_PRECISION_HINT": args.precision} if args.precision else {}
    compiled = core.compile_model(model, args.device, {"PERFORMANCE_HINT": "LATENCY", **wanted})
    request = compiled.create_infer_request()
    names = [entry["name"] for entry in manifest["outputs"]]

    def run(x: np.ndarray) -> dict[str, np.ndarray]:
        found = request.infer({0: x})
        return {name: np.array(found[compiled.output(name)]) for name in names}

    kind = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    passed: bool = run_kit(run, manifest, f"OpenVINO {ov.__version__}, {args.device}, floats in {kind}", args.runs)
    return passed


if __name__ == "__main__":
    sys.exit(main(described))

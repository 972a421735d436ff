"""Is the model within the kit's tolerance on Qualcomm's HTP, and does it run there whole?

    pip install onnxruntime onnxruntime-qnn
    python run_qnn.py [--context] [--soc N] [--library FILE] [--backend FILE] [--runs N]

On a device this is its HTP; on x86-64 it is Qualcomm's simulator (seconds an image), which --soc N lets stand for one
SoC. --context runs the context binary of the kit, if it has one, in place of the model. Exit status: 0 whole and within
the tolerance; 1 beyond it, or a node is left to the CPU; 2 the kit cannot be run.
"""

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime as ort
from check import FOLDER, CannotRunError, main, parser_of, read_manifest, run_kit

NAME = "qnn"


def packaged() -> tuple[str, str]:
    """The plugin and the library of HTP that the package onnxruntime-qnn brings."""
    import onnxruntime_qnn  # noqa: PLC0415 - not needed where both are named

    return str(onnxruntime_qnn.get_library_path()), str(onnxruntime_qnn.get_qnn_htp_path())


def opened(model: str, provider: dict[str, str], *, whole: bool) -> ort.InferenceSession:
    """A session on HTP; with `whole` onnxruntime refuses to leave any node to the CPU."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1" if whole else "0")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    devices = [device for device in ort.get_ep_devices() if device.ep_name == NAME]
    if not devices:
        raise CannotRunError("the plugin finds no device of QNN here")
    options.add_provider_for_devices(devices[:1], provider)
    return ort.InferenceSession(model, options)


def described() -> bool:
    """Read the command line and run the kit."""
    parser = parser_of(__doc__)
    parser.add_argument("--context", action="store_true", help="run the context binary")
    parser.add_argument("--soc", help="the SoC that the simulator stands for, by its number")
    parser.add_argument("--library", type=Path, help="libonnxruntime_providers_qnn.so; default: the package's")
    parser.add_argument("--backend", type=Path, help="libQnnHtp.so; default: the package's")
    args = parser.parse_args()
    manifest = read_manifest()
    context = manifest["context"]
    if args.context and context is None:
        raise CannotRunError(
            "the kit has no context binary; mptq-export --target qnn --kit DIR --context SOC makes one"
        )
    library, backend = (str(args.library or ""), str(args.backend or ""))
    if not (library and backend):
        found = packaged()
        library, backend = library or found[0], backend or found[1]
    ort.register_execution_provider_library(NAME, library)
    # Codes at the borders are made there too, so that nothing is left to the CPU.
    provider = {"backend_path": backend, "offload_graph_io_quantization": "0"}
    soc = args.soc or (str(context["soc"]["number"]) if args.context else None)
    if soc:
        provider["soc_model"] = soc
    model = str(FOLDER / (context["file"] if args.context else manifest["model"]))
    whole = True
    try:
        session = opened(model, provider, whole=True)
    except Exception as error:  # noqa: BLE001 - onnxruntime's exceptions have no common base
        print(f"not whole: {' '.join(str(error).split())[:300]}")
        whole = False
        session = opened(model, provider, whole=False)
        left = Counter(
            node.op_type
            for part in session.get_provider_graph_assignment_info()
            for node in part.get_nodes()
            if part.ep_name != NAME
        )
        print(f"left to the CPU: {', '.join(f'{count} {op}' for op, count in sorted(left.items()))}")
    names = [entry["name"] for entry in manifest["outputs"]]

    def run(x: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, {manifest["input"]["name"]: x}), strict=True))

    passed: bool = run_kit(run, manifest, f"onnxruntime {ort.__version__}, QNN, {Path(model).name}", args.runs)
    print("whole: no node is left to the CPU" if whole else "NOT WHOLE: the CPU computes a part")
    return passed and whole


if __name__ == "__main__":
    sys.exit(main(described))

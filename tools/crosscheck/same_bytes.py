"""Export one checkpoint as on several CPUs and compare the bytes.

    python -m tools.crosscheck.same_bytes examples/digits/digits_vit.pt --calib examples/digits/calib --bits 4/4

Every export is a process of its own. Stand-ins for other CPUs: fewer threads, torch without its vector code, MKL,
oneDNN, NumPy and the C library without the sets above SSE4 or AVX. Sums then run in another order, functions differ in
their last bits. All arguments are those of mptq-export, but `-o`. One line of JSON a setting; exit status 1 if a file
differs from the first.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mptq_export.recipe.schema import Recipe
from mptq_export.recipe.store import read_recipe, recipe_paths

_EXPORT = "from mptq_export.cli.export import main; main()"

_ONE = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

SETTINGS: dict[str, dict[str, str]] = {
    "1 thread": _ONE,
    "2 threads": {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"},
    "torch without vectors": _ONE | {"ATEN_CPU_CAPABILITY": "default"},
    "MKL SSE4.2, oneDNN SSE4.1": _ONE | {"MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "ONEDNN_MAX_CPU_ISA": "SSE41"},
    "MKL compatible": _ONE | {"MKL_CBWR": "COMPATIBLE"},
    "NumPy and libm without AVX2": _ONE
    | {"NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3", "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA"},
}


def export(arguments: list[str], out: Path, environment: dict[str, str]) -> float:
    """Run mptq-export; seconds that it took."""
    command = [sys.executable, "-c", _EXPORT, *arguments, "-o", str(out), "-q"]
    start = time.perf_counter()
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return time.perf_counter() - start


def differences(first: Recipe, other: Recipe) -> Iterator[str]:
    """What differs, in the order in which it was chosen, a section after the other."""
    for key, norm in first.sq_b.items():
        for part in ("shift", "scale"):
            if not np.array_equal(getattr(norm, part), getattr(other.sq_b[key], part)):
                yield f"smoothing {part} of {key}"
        if (norm.strength, norm.reason) != (other.sq_b[key].strength, other.sq_b[key].reason):
            yield f"smoothing strength or reason of {key}"
    yield from (f"quantizer of {key}" for key, quant in first.activations.items() if quant != other.activations[key])
    for key, weight in first.weights.items():
        for part in ("codes", "scale", "bias"):
            count = int((getattr(weight, part) != getattr(other.weights[key], part)).sum())
            if count:
                yield f"{part} of {key}: {count} of {getattr(weight, part).size}"


def main() -> None:
    made: dict[str, tuple[bytes, Recipe]] = {}
    differs = False
    with tempfile.TemporaryDirectory() as folder:
        for index, (name, environment) in enumerate(SETTINGS.items()):
            out = Path(folder) / f"{index}.onnx"
            seconds = export(sys.argv[1:], out, environment)
            made[name] = out.read_bytes(), read_recipe(recipe_paths(out)[0])
            first_bytes, first = next(iter(made.values()))
            found = list(differences(first, made[name][1]))
            same = made[name][0] == first_bytes
            differs |= not same
            line = {"setting": name, "same": same, "seconds": round(seconds, 1), "differing": len(found)}
            print(json.dumps(line | ({"first": found[:8]} if found else {})), flush=True)
    sys.exit(differs)


if __name__ == "__main__":
    main()

"""Which versions of onnxruntime open files and give their bits, and whether each file says so.

    for v in 1.19.2 1.20.0 1.23.2; do pip install --no-deps --target ort/$v onnxruntime==$v; done
    python -m tools.crosscheck.golden 8bit.onnx --images photos/ -o files/8bit.npz     (and 8bit.onnx beside it)
    python -m tools.crosscheck.versions files/ ort/*

Prints one line of JSON a file and version, and exits with status 1 if a version that a file names as old enough
(`mptq.min_onnxruntime` of its metadata) does not open it or differs in one bit. Versions before 1.19 need NumPy 1: give
`--also` a folder with it, and with what else the wheels import.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnxruntime as ort

REPO = Path(__file__).resolve().parents[2]
KEY = "mptq.min_onnxruntime"


def version_of(folder: Path) -> str:
    """The version that pip installed into a folder."""
    found = [path.name.split("-")[1].removesuffix(".dist") for path in folder.glob("onnxruntime-*.dist-info")]
    if len(found) != 1:
        raise SystemExit(f"{folder} holds no onnxruntime; fill it with pip install --target")
    return found[0]


def number(version: str) -> tuple[int, ...]:
    """(1, 20) of `1.20` and of `1.20.1`."""
    return tuple(int(part) for part in version.split(".")[:2])


def result(model: Path, folder: Path, also: list[Path]) -> dict[str, Any]:
    """What one version does with a file whose golden values are beside it."""
    paths = os.pathsep.join(str(path.resolve()) for path in (folder, *also, REPO))
    golden = str(model.with_suffix(".npz"))
    command = [sys.executable, "-m", "tools.crosscheck.compare", golden, str(model), "--batch", "1", "3"]
    ran = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    if len(lines) == 2:
        differing = sum(line["differing"] for line in lines)
        return {"onnxruntime": lines[0]["onnxruntime"], "opens": True, "differing": differing, "why": ""}
    return {"onnxruntime": version_of(folder), "opens": False, "differing": None, "why": ran.stderr.strip()[-300:]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, help="folder of NAME.onnx with NAME.npz of golden.py")
    parser.add_argument("installed", type=Path, nargs="+", help="folders that pip installed onnxruntime into")
    parser.add_argument("--also", type=Path, nargs="*", default=[], help="more folders to import from")
    args = parser.parse_args()
    wrong = 0
    for model in sorted(args.files.glob("*.onnx")):
        says = ort.InferenceSession(str(model)).get_modelmeta().custom_metadata_map[KEY]
        for folder in sorted(args.installed, key=lambda path: number(version_of(path))):
            found = result(model, folder, args.also)
            exact = found["opens"] and not found["differing"]
            agrees = exact or number(version_of(folder)) < number(says)
            wrong += not agrees
            print(json.dumps({"model": model.name, "says": says, **found, "agrees": agrees}), flush=True)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()

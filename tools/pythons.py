"""Demo and device under every Python that the package allows and this machine has.

    python -m tools.pythons                      (each python3.X on the path, the exporter and the device)
    python -m tools.pythons --device 3.13 3.14   (the device alone: no torch to download)

For each Python: a new environment, what pip installs there from this folder, the demo's export and check
(`tools/check_install.sh`), and a check by the device's commands. What is not on the path is said, and no failure: no
machine has all.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
DIGITS = REPO / "examples" / "digits"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", action="store_true", help="mptq-device alone, on --file")
    parser.add_argument("--file", type=Path, default=REPO / "out" / "digits.onnx", help="what the device checks")
    parser.add_argument("versions", nargs="*", help="such as 3.13; all that pyproject.toml names if left out")
    asked = parser.parse_args()
    failed = []
    for version in asked.versions or declared():
        python = shutil.which(f"python{version}")
        if python is None:
            print(f"{version}: not on the path", flush=True)
            continue
        ended = device(python, asked.file) if asked.device else whole(python)
        print(f"{version}: {'FAILED' if ended else 'passed'}", flush=True)
        failed += [version] if ended else []
    return 1 if failed else 0


def declared() -> list[str]:
    """The versions among the classifiers."""
    project = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = (re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", each) for each in project["classifiers"])
    return [each[1] for each in found if each]


def whole(python: str) -> int:
    """The exporter: export and verify, with the package as pip installs it."""
    with tempfile.TemporaryDirectory() as folder:
        return run(python, "-m", "venv", folder) or (
            run(f"{folder}/bin/python", "-m", "pip", "install", "-q", "-c", REPO / "constraints.txt", REPO)
            or run(REPO / "tools" / "check_install.sh", f"{folder}/bin", DIGITS)
        )


def device(python: str, file: Path) -> int:
    """The device: verify, evaluate and time a file."""
    with tempfile.TemporaryDirectory() as folder:
        bin_ = Path(folder, "bin")
        return (
            run(python, "-m", "venv", folder)
            or run(bin_ / "python", "-m", "pip", "install", "-q", REPO / "distributions" / "device")
            or run(bin_ / "mptq-verify", "--version")
            or run(bin_ / "mptq-verify", file, "--images", DIGITS / "val")
            or run(bin_ / "mptq-eval", file, "--data", DIGITS / "val")
            or run(bin_ / "mptq-bench", file, "--rounds", "3", "--reference", "-q")
        )


def run(*words: str | Path) -> int:
    """The status of a command, which is told."""
    return subprocess.run([str(word) for word in words], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

"""The lower bounds of pyproject.toml, installed as they stand, and the fast tests on top.

    python -m tools.oldest .venv-oldest                 (installs, then tests)
    python -m tools.oldest .venv-oldest tests/verify    (only these tests: what follows is for pytest)
    python -m tools.oldest --over .venv .venv-oldest    (torch and torchvision as .venv has them: no gigabytes)
    python -m tools.oldest --print                      (the versions, one a line)

A bound that nobody tests is a guess: here every runtime dependency has exactly the version that its bound names.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
LARGE = ("torch", "torchvision")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--print", action="store_true", help="print the versions and do nothing else")
    parser.add_argument("--over", type=Path, metavar="VENV", help="take torch and torchvision from there")
    parser.add_argument("venv", nargs="?", type=Path, help="where to install; made where it is missing")
    parser.add_argument("tests", nargs=argparse.REMAINDER, help="for pytest")
    asked = parser.parse_args()
    pins = lower_bounds()
    if asked.print:
        print("\n".join(pins))
        return 0
    if asked.venv is None:
        parser.error("name a folder for the virtual environment")
    venv: Path = asked.venv
    python = interpreter(venv)
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    if asked.over is not None:
        pins = [pin for pin in pins if pin.partition("==")[0] not in LARGE]
        # What stands there counts as installed; what pip puts into `venv` itself comes first on the path.
        (site_packages(venv) / "under.pth").write_text(f"{site_packages(asked.over)}\n", encoding="utf-8")
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as constraints:
        constraints.write("\n".join(pins) + "\n")
        constraints.flush()
        options = ["--quiet", "-c", constraints.name, "-e", f"{REPO}[dev]"]
        subprocess.run([str(python), "-m", "pip", "install", *options], check=True, cwd=REPO)
    run: list[str | Path] = [python, "-m", "pytest", "-q", "-m", "not slow", *asked.tests]
    return subprocess.run(run, check=False, cwd=REPO).returncode


def interpreter(venv: Path) -> Path:
    """The Python of a virtual environment."""
    return venv / ("Scripts" if os.name == "nt" else "bin") / "python"


def site_packages(venv: Path) -> Path:
    """Where that Python keeps what pip installs."""
    ask: list[str | Path] = [interpreter(venv), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    return Path(subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip())


def lower_bounds() -> list[str]:
    """`name==version` of every runtime dependency; a dependency without a lower bound is an error."""
    project = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins = []
    for requirement in project["dependencies"]:
        found = re.fullmatch(r"([\w.-]+)>=([\w.]+)", requirement.replace(" ", ""))
        if found is None:
            raise SystemExit(f"pyproject.toml: {requirement!r} is not NAME>=VERSION; give it a lower bound")
        pins.append(f"{found[1]}=={found[2]}")
    return pins


if __name__ == "__main__":
    sys.exit(main())

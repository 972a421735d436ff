"""Install this package from its folder into the environment that runs this, with a small torch where pip finds one.

    python -m venv .venv && .venv/bin/python tools/set_up.py [EXTRAS]

The torch that PyPI has for Linux brings 4 GB of CUDA libraries, which nothing here uses. Its builds for CPUs bear
`+cpu` in their version; they are where your pip looks if you tell it so (PIP_EXTRA_INDEX_URL or PIP_FIND_LINKS, or an
index of your company's). That of the version in `constraints.txt` is taken, else the newest that `pyproject.toml`
allows. Without one it is the pair of `constraints.txt`, which for macOS and Windows is a build for CPUs in any case.
What is installed already stays.

With EXTRAS (`dev,edge`) the pair of `constraints.txt` is taken in any case: the tests are written for it.
"""

import platform
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
#: The pair that the tests are run with.
TESTED = ["-c", str(REPO / "constraints.txt")]
LEFT_OUT = "PyPI's torch for Linux brings 4 GB of CUDA libraries, which nothing here uses"


def main() -> int:
    extras = sys.argv[1] if len(sys.argv) > 1 else ""
    asked = ["-e", f"{REPO}[{extras}]" if extras else str(REPO)]
    small = None if extras or installed("torch") else small_torch()
    if small is not None:
        say(f"torch {small}: a build for CPUs")
        options = [f"torch=={small}"]
        options += TESTED if numbers(small) == tested_torch() else []
    else:
        if platform.system() == "Linux" and not installed("torch"):
            say(f"{LEFT_OUT}; pip finds no build for CPUs here")
            say("to take one, name the index that PyTorch's page on installing gives for CPUs in PIP_EXTRA_INDEX_URL")
        options = TESTED
    return pip("install", *options, *asked).returncode


def say(sentence: str) -> None:
    print(f"set-up: {sentence}", flush=True)


def installed(package: str) -> str | None:
    """The version that is there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def small_torch() -> str | None:
    """The `+cpu` build of torch to take of those that pip finds, or None."""
    listed = pip("index", "versions", "torch", said=True)
    found = re.search(r"^Available versions: (.*)$", listed.stdout, re.MULTILINE)
    return chosen(found[1].split(", ") if found else [], least_torch(), tested_torch())


def chosen(versions: list[str], least: tuple[int, ...], tested: tuple[int, ...]) -> str | None:
    """Of the versions that bear `+cpu` the tested one, else the newest, unless it is below `least`."""
    known = {numbers(each): each for each in versions if re.fullmatch(r"\d+(\.\d+)*\+cpu", each)}
    best = tested if tested in known else max(known, default=())
    return known[best] if best and best >= least else None


def least_torch() -> tuple[int, ...]:
    """The lower bound of torch."""
    project = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (bound,) = (each for each in project["dependencies"] if re.match(r"torch\W", each))
    return numbers(bound.partition(">=")[2])


def tested_torch() -> tuple[int, ...]:
    """The version in `constraints.txt`."""
    (line,) = re.findall(r"^torch==(.*)$", (REPO / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    return numbers(line)


def numbers(text: str) -> tuple[int, ...]:
    """2.13.0+cpu as (2, 13, 0)."""
    return tuple(map(int, text.partition("+")[0].split(".")))


def pip(*words: str, said: bool = False) -> subprocess.CompletedProcess[str]:
    """Run this environment's pip."""
    line = [sys.executable, "-m", "pip", *words, "--disable-pip-version-check"]
    return subprocess.run(line, check=False, text=True, capture_output=said)


if __name__ == "__main__":
    sys.exit(main())

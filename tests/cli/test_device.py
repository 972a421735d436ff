"""What a device installs is enough for what it runs: everything else is kept from being imported."""

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from .helpers import files, run

REPO = Path(__file__).resolve().parents[2]

#: The command in a process that finds only the standard library, our packages and those of the list in front.
ALONE = """
import sys
allowed = {*sys.argv[1].split(","), *sys.stdlib_module_names, "mptq_export", "kernels_ref"}
class Only:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in allowed:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Only())
del sys.argv[1]
from importlib import import_module
import_module(sys.argv[0] if sys.argv[0] != "-c" else sys.argv.pop(1)).main()
"""


def project(folder: str) -> dict:
    return tomllib.loads((REPO / folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def name_of(requirement: str) -> str:
    return re.split(r"[\s<>=!~;(\[]", requirement)[0].lower().replace("_", "-")


def modules_of(requirements: list[str]) -> set[str]:
    """The modules that come with packages and with all that these need, as installed here."""
    waiting, seen = [name_of(each) for each in requirements], set()
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += [name_of(each) for each in metadata.requires(name) or [] if "extra ==" not in each]
    named = metadata.packages_distributions()
    return {module for module, owners in named.items() if {name_of(owner) for owner in owners} & seen}


@pytest.fixture(scope="module")
def allowed() -> str:
    found = modules_of(project("distributions/device")["dependencies"])
    assert {"numpy", "onnx", "onnxruntime", "click", "PIL"} <= found
    assert not {"torch", "timm", "torchvision", "scipy", "jinja2", "onnxscript", "sympy"} & found
    return ",".join(found)


def alone(allowed: str, command: str, *arguments: object) -> tuple[int, str, str]:
    line = [sys.executable, "-c", ALONE, allowed, f"mptq_export.cli.{command}", *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def exported(work: Path) -> Path:
    """A folder with a checkpoint, images, a list of classes and the file that an export wrote."""
    (work / "classes.txt").write_text("".join(f"class{number}\n" for number in range(7)))
    assert run(work / "m.pt", "--calib", work / "calib", "-q").exit_code == 0
    return work


def labelled(work: Path) -> tuple[object, ...]:
    return "eval", work / "m.mptq.onnx", "--data", work / "calib", "--class-map", work / "classes.txt"


def test_a_device_verifies_evaluates_and_times(exported: Path, allowed: str):
    work = exported
    file, before = work / "m.mptq.onnx", files(work)
    for arguments, said in (
        (("verify", file, "--images", work / "calib", "--recipe", work / "m.mptq.recipe.json"), "exact: 0 differing"),
        (labelled(work), "quantised"),
        (("bench", file, "--rounds", 1, "--reference"), "kernels_ref"),
        (("verify", "--version"), "onnxruntime"),
    ):
        status, out, err = alone(allowed, *arguments)
        assert (status, err) == (0, ""), arguments
        assert said in out
    assert files(work) == before


def test_what_a_device_lacks_is_named(exported: Path, allowed: str):
    work = exported
    for arguments, package in (
        ((*labelled(work), "--float", work / "m.pt"), "torch"),
        (("export", work / "m.pt", "--calib", work / "calib", "--force"), "torch"),
        (("report", work / "m.mptq.onnx", "--force"), r"pygal|jinja2"),
    ):
        status, out, err = alone(allowed, *arguments)
        assert (status, out) == (2, ""), arguments
        assert re.fullmatch(
            rf"error: ({package}) is not installed in this environment.*pip install mptq-export.*\n", err
        )

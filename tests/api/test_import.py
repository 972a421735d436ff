"""What `import mptq_export` gives, and how little it costs."""

import pkgutil
import subprocess
import sys
from importlib import import_module
from types import FunctionType

import mptq_export
import mptq_export.api

#: What opens a written file without its checkpoint: torch alone takes two seconds to import.
WITHOUT_TORCH = """
import sys
import mptq_export.bench.run, mptq_export.kit.write, mptq_export.verify.run
import mptq_export.evaluate.run, mptq_export.evaluate.show
assert "onnxruntime" in sys.modules
assert "torch" not in sys.modules
"""
VERBS = ("load", "calibrate", "allocate", "export", "verify")
QUICK = """
import sys
import mptq_export
assert mptq_export.__version__
heavy = {"torch", "numpy", "onnx", "timm", "scipy"} & set(sys.modules)
assert not heavy, heavy
from mptq_export import load
assert "torch" in sys.modules
"""


def test_the_package_imports_nothing_heavy_before_a_verb_is_asked_for():
    done = subprocess.run([sys.executable, "-c", QUICK], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_needs_no_checkpoint_needs_no_torch():
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_verbs_are_functions_although_folders_bear_their_names():
    for _, name, _ in pkgutil.walk_packages(mptq_export.__path__, "mptq_export."):
        if not name.startswith("mptq_export.kit.runners"):
            import_module(name)
    for verb in VERBS:
        assert isinstance(getattr(mptq_export, verb), FunctionType), verb
        assert getattr(mptq_export, verb) is getattr(mptq_export.api, verb)


def test_what_is_no_verb_is_no_attribute():
    assert not hasattr(mptq_export, "quantise_all")

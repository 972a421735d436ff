"""torch for CPUs beside a torchvision of another index: the one cannot load the other's compiled operators."""

import subprocess
import sys

import pytest

UNFIT = """
import torch
def unfit(path):
    raise OSError("libtorch_cuda.so: cannot open shared object file")
torch.ops.load_library = unfit
"""
WITHOUT_US = "import torchvision"
TIMMS = """
from mptq_export.load.loaders import load_model
from mptq_export.load.timm import hub
import timm, torchvision
timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1)(torch.zeros(1, 3, 32, 32))
try:
    torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
except RuntimeError as error:
    print(error)
"""


def said(source: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-W", "ignore", "-c", source], capture_output=True, text=True, check=False)


def test_timm_models_need_none_of_its_operators():
    if said(UNFIT + WITHOUT_US).returncode == 0:
        pytest.skip("this torchvision does without its operators by itself")
    done = said(UNFIT + TIMMS)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Couldn't load custom C++ ops" in done.stdout


def test_another_misfit_is_one_line():
    done = said(
        "import importlib, torch, mptq_export\n"
        "def refuse(name): raise RuntimeError('compiled with another CUDA major version')\n"
        "importlib.import_module = refuse\n"
        "import mptq_export.load.import_torchvision"
    )
    assert "MptqError: the installed torchvision does not fit torch" in done.stderr

"""Small files to time."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_models import KINDS, images, pixels, tiny

from mptq_export.calibrate.request import CalibrationRequest
from mptq_export.emit.float_onnx import write_float_onnx
from mptq_export.export.outputs import Outputs
from mptq_export.export.plan import Uniform
from mptq_export.export.request import ExportRequest
from mptq_export.export.run import export_model
from mptq_export.load.request import ModelRequest


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint in the form that training scripts write."""
    path = tmp_path_factory.mktemp("bench") / "tiny.pt"
    arch, kwargs = KINDS["vit"]
    torch.save({"arch": arch, "model_kwargs": kwargs, "state_dict": dict(tiny("vit").state_dict())}, path)
    return path


@pytest.fixture(scope="session")
def exported(checkpoint: Path) -> Path:
    """The exact integer file of that checkpoint; its batch is free."""
    path = checkpoint.with_name("exact.onnx")
    export_model(ExportRequest(ModelRequest(str(checkpoint)), Uniform(), Outputs(path), CalibrationRequest(count=4)))
    return path


@pytest.fixture(scope="session")
def companion(checkpoint: Path) -> Path:
    """Its float file."""
    path = checkpoint.with_name("float.onnx")
    write_float_onnx(tiny("vit"), images("vit", 2).numpy(), path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six images in two class folders."""
    for number, image in enumerate(pixels("vit", 6).numpy()):
        path = tmp_path / "images" / f"class{number % 2}"
        path.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path / f"{number}.png")
    return tmp_path / "images"

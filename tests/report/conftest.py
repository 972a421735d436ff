"""Two exports with all their files, made once."""

import shutil
from pathlib import Path

import pytest
from cli.conftest import work
from cli.helpers import KIND, run, save
from PIL import Image
from tiny_models import pixels

__all__ = ["work"]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a search that gave two files, and one file of uniform width with a float companion."""
    folder = tmp_path_factory.mktemp("report")
    save(folder / "m.pt")
    (folder / "calib").mkdir()
    for i, image in enumerate(pixels(KIND, 6).numpy()):
        Image.fromarray(image).save(folder / "calib" / f"{i}.png")
    common = (folder / "m.pt", "--calib", folder / "calib")
    search = ("--mixed", "5", "--mixed", "4.5", "--mixed-range", "4-6", "-o", folder / "s.onnx")
    plain = ("--bits", "4/5", "-o", folder / "u.onnx", "--float-onnx", folder / "f.onnx")
    for options in (search, plain):
        result = run(*common, *options)
        assert result.exit_code == 0, (result.output, result.exception)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return shutil.copytree(made, tmp_path / "made")

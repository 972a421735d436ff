"""The digits model and its kit, made once a session."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from mptq_export.cli.export import main

REPO = Path(__file__).resolve().parents[2]
DIGITS = REPO / "examples" / "digits"


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `digits.onnx` and its kit `kit`, as the command writes them."""
    folder = tmp_path_factory.mktemp("exported")
    arguments = ["--calib", DIGITS / "calib", "--count", 16, "-o", folder / "digits.onnx", "--kit", folder / "kit"]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    result = CliRunner().invoke(main, [str(argument) for argument in [DIGITS / "digits_vit.pt", *arguments]])
    torch.set_num_threads(threads)
    assert result.exit_code == 0, result.output
    assert str(folder / "kit") in result.stdout
    return folder


@pytest.fixture
def kit(exported: Path, tmp_path: Path) -> Path:
    """A copy of the kit that a test may damage; it lies alone, as on a device."""
    return Path(shutil.copytree(exported / "kit", tmp_path / "device"))


@pytest.fixture
def alter(kit: Path) -> Callable[[str], Path]:
    """A function that moves the first code of one weight of the kit's model far."""
    from .helpers import alter_weight

    def change(tensor: str) -> Path:
        path = kit / "model.onnx"
        path.write_bytes(alter_weight(path.read_bytes(), tensor))
        return kit

    return change

"""A small export with a dossier and an evaluation beside it, and the digits with theirs, made once."""

import shutil
from pathlib import Path

import pytest
import torch
from cli.conftest import filled, work
from cli.helpers import run
from click.testing import CliRunner, Result

from mptq_export.cli.eval import main as evaluate
from mptq_export.cli.report import main as report

__all__ = ["work"]

REPO = Path(__file__).resolve().parents[2]
DIGITS = REPO / "examples" / "digits"


def command(main: object, *arguments: object) -> Result:
    """A command in this process."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])  # type: ignore[arg-type]


def succeed(main: object, *arguments: object) -> Result:
    """A command that has to succeed."""
    result = command(main, *arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `m.onnx`, what `mptq-eval` found of it, and its dossiers `early` (by the export) and `late`."""
    folder = filled(tmp_path_factory.mktemp("dossier"))
    result = run(
        *(folder / "m.pt", "--calib", folder / "calib", "--bits", "4/4", "-o", folder / "m.onnx"),
        *("--dossier", folder / "early"),
    )
    assert result.exit_code == 0, (result.output, result.exception)
    assert str(folder / "early") in result.stdout
    (folder / "names.txt").write_text("".join(f"class{number}\n" for number in range(7)))
    data = ("--data", folder / "calib", "--class-map", folder / "names.txt", "--float", folder / "m.pt")
    succeed(evaluate, folder / "m.onnx", *data, "--json", folder / "m.eval.json")
    succeed(report, "--dossier", folder / "late", folder / "m.onnx", "--images", folder / "calib")
    return folder


@pytest.fixture
def copied(made: Path, tmp_path: Path) -> Path:
    """The same, for a test that changes it."""
    return Path(shutil.copytree(made, tmp_path / "copy"))


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dossier of the digits model, with an evaluation."""
    folder = tmp_path_factory.mktemp("digits")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    result = run(
        *(DIGITS / "digits_vit.pt", "--calib", DIGITS / "calib", "-o", folder / "digits.onnx"),
        *("--dossier", folder / "dossier"),
    )
    torch.set_num_threads(threads)
    assert result.exit_code == 0, (result.output, result.exception)
    data = ("--data", DIGITS / "val", "--float", DIGITS / "digits_vit.pt", "--json", folder / "digits.eval.json")
    succeed(evaluate, folder / "digits.onnx", *data)
    succeed(report, "--dossier", folder / "dossier", "--force", folder / "digits.onnx")
    return folder / "dossier"

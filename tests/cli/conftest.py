"""A working folder, and what a refusal must look like."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from tiny_models import pixels

from .helpers import KIND, files, run, save


def filled(folder: Path) -> Path:
    """A folder with a checkpoint and calibration images."""
    save(folder / "m.pt")
    for i, image in enumerate(pixels(KIND, 6).numpy()):
        images = folder / "calib" / f"class{i % 2}"
        images.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(images / f"{i}.png")
    return folder


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A folder with a checkpoint and calibration images, of the test's own."""
    return filled(tmp_path)


@pytest.fixture
def refused(work: Path) -> Callable[..., str]:
    """A function that runs the command, checks how a refusal must look, and gives its line."""

    def check(*arguments: object, words: tuple[str, ...]) -> str:
        before = files(work)
        result = run(*arguments)
        assert result.exit_code == 2, (result.output, result.exception)
        assert isinstance(result.exception, SystemExit)
        assert result.stdout == ""
        assert "Traceback" not in result.stderr
        *told, line = result.stderr.splitlines()
        assert line.startswith("error: ")
        early = (
            "warning: calibrated on ",
            "warning: --mixed ",
            "warning: --pick ",
        )  # few images, and what a latency buys: told early
        assert len(told) <= len(early) and all(each.startswith(early) for each in told)
        for word in words:
            assert word in line
        assert files(work) == before  # nothing left behind, nothing changed
        return line

    return check

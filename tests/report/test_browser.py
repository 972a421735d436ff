"""The pages in headless Chromium: nothing is loaded or logged, they fit a phone and paper, and can be read."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .test_command import report

REPO = Path(__file__).resolve().parents[2]
LOOK = [sys.executable, "-m", "tools.report_look"]


def look(page: Path, *options: object) -> dict[str, object]:
    done = subprocess.run(
        [*LOOK, page, *map(str, options)], capture_output=True, text=True, timeout=300, check=False, cwd=REPO
    )
    if done.returncode == 2:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_the_report_of_a_search(folder: Path):
    found = look(folder / "s.5.report.html", "--open", 20, "--pictures", folder / "pictures")
    assert (found["requests"], found["console"]) == ([], [])
    assert int(str(found["plots"])) >= 5
    pictures = {path.name for path in (folder / "pictures").iterdir()}
    views = {f"{width}-{theme}.png" for width in ("wide", "phone") for theme in ("light", "dark")}
    assert pictures == views | {"plots.png", "weights.png", "layers.png", "print.pdf"}


def test_a_comparison(folder: Path):
    assert report(folder / "s.5.onnx", folder / "u.onnx").exit_code == 0
    look(folder / "s.5-vs-u.report.html", "--open", 20)


def test_a_report_without_measurements(folder: Path):
    (folder / "u.report.json").unlink()
    assert report(folder / "u.onnx", "--force").exit_code == 0
    look(folder / "u.report.html", "--open", 20)


@pytest.mark.parametrize("bad", ["<p style='width: 2000px'>wide</p>", "<p style='color: #888'>faint</p>"])
def test_what_is_wrong_is_found(folder: Path, bad: str):
    page = folder / "bad.html"
    page.write_text((folder / "u.report.html").read_text().replace("<footer>", f"{bad}<footer>"))
    done = subprocess.run([*LOOK, page], capture_output=True, text=True, timeout=300, check=False, cwd=REPO)
    if done.returncode == 2:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 1

"""The JavaScript runners: onnxruntime-web in Node, and the page in headless Chromium."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.browser import NoBrowserError, open_browser

from .conftest import REPO
from .helpers import NODE_MODULES, PAGE, WEIGHTS, call, first_named

WEIGHT = "blocks.1.mlp.fc2.weight"


def need_web() -> None:
    if not (NODE_MODULES / "onnxruntime-web").is_dir():
        pytest.skip(f"onnxruntime-web is not installed: {NODE_MODULES} (npm ci in tools/crosscheck/web)")


@pytest.fixture
def node(kit: Path) -> str:
    """Node, with onnxruntime-web in the kit."""
    need_web()
    program = shutil.which("node")
    if program is None:
        pytest.skip("there is no node in PATH")
    (kit / "node_modules").symlink_to(NODE_MODULES)
    return program


@pytest.fixture
def browser() -> None:
    """A Chromium and onnxruntime-web, or the test is skipped."""
    need_web()
    try:
        with open_browser():
            pass
    except NoBrowserError as error:
        pytest.skip(str(error))


def test_node_passes(kit: Path, node: str) -> None:
    result = call(node, kit / "run.mjs", "--runs", 2)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.splitlines()[-1] == "PASS"
    assert "inner tensors equal" in result.stdout


def test_node_names_the_tensor_behind_an_altered_weight(alter: Callable[[str], Path], node: str) -> None:
    result = call(node, alter(WEIGHT) / "run.mjs", "--runs", 2)
    assert result.returncode == 1, result.stdout + result.stderr
    (first,) = first_named(result.stdout)
    assert first.startswith(WEIGHTS[WEIGHT])


def test_node_says_in_one_line_what_it_cannot_do(kit: Path, node: str) -> None:
    for arguments in (("--runtime", "none"), ("--runs", "0"), ("--what",)):
        result = call(node, kit / "run.mjs", *arguments)
        assert result.returncode == 2
        assert result.stderr.startswith("error: ")
        assert result.stderr.count("\n") == 1


@pytest.mark.usefixtures("browser")
def test_the_page_passes(kit: Path, tmp_path: Path) -> None:
    picture = tmp_path / "page.png"
    result = call(*PAGE, kit, "--screenshot", picture, cwd=REPO)
    assert result.returncode == 0, result.stdout + result.stderr
    shown = json.loads(result.stdout)
    assert shown["verdict"].startswith("PASS")
    assert shown["first"] == "none"
    assert shown["latency"].startswith("median")
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("browser")
def test_the_page_names_the_tensor_behind_an_altered_weight(kit: Path) -> None:
    result = call(*PAGE, kit, "--alter", WEIGHT, cwd=REPO)
    assert result.returncode == 1, result.stdout + result.stderr
    shown = json.loads(result.stdout)
    assert shown["verdict"].startswith("FAIL")
    assert shown["first"].startswith(WEIGHTS[WEIGHT])


@pytest.mark.usefixtures("browser")
def test_the_page_says_what_is_missing(kit: Path) -> None:
    (kit / "probes.bin").unlink()
    result = call(*PAGE, kit, cwd=REPO)
    assert result.returncode == 2
    shown = json.loads(result.stdout)
    assert shown["verdict"].startswith("ERROR")
    assert "probes.bin" in shown["log"]

"""kernels_ref and mptq_export are two readings of one file: they must not share code."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent.parent
BANNED_IN_REFERENCE = {"mptq_export", "onnxruntime", "onnxscript", "scipy", "timm", "torch", "torchvision"}


def imported(source: Path) -> set[str]:
    """Top-level packages that the file imports, anywhere in it."""

    def names() -> Iterator[str]:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                yield node.module or ""

    return {name.split(".")[0] for name in names()}


def test_the_reference_stands_alone():
    files = sorted((REPO / "kernels_ref").rglob("*.py"))
    if not files:
        pytest.skip("kernels_ref holds no Python file")
    assert {file.name: found for file in files if (found := imported(file) & BANNED_IN_REFERENCE)} == {}


def test_only_verification_meets_the_reference():
    package = REPO / "mptq_export"
    users = [file.relative_to(package) for file in package.rglob("*.py") if "kernels_ref" in imported(file)]
    assert {file.parts[0] for file in users} == {"verify"}
